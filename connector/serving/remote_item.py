"""A fused encoder on a Triton server: each modality travels as an input of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connector.config import TritonSettings
from connector.serving.ensemble import input_name
from connector.serving.payloads import MAX_ITEM_BYTES, Payloads
from connector.serving.remote_encoder import TritonEncoder
from encoders.contract import EncoderContract
from encoders.errors import InvalidInputError
from encoders.fused import item_parts
from encoders.wire import pack, unpack


class TritonItemEncoder(TritonEncoder):
    """One version of one fused encoder on a Triton server; made by `TritonClient.encoder`.

    Args:
        modalities: names of the parts that the served ensemble takes.
    """

    def __init__(
        self,
        client: Any,
        contract: EncoderContract,
        url: str,
        settings: TritonSettings,
        max_batch: int,
        checked: bool,
        modalities: Sequence[str],
    ) -> None:
        super().__init__(client, contract, url, settings, max_batch, checked)
        self.modalities = tuple(modalities)

    def _payloads(self, items: Sequence[Any]) -> Payloads:
        payloads = Payloads()
        for position, item in enumerate(items):
            try:
                content = pack(item_parts(item, self.modalities))
                if len(content) > MAX_ITEM_BYTES:
                    raise InvalidInputError(f"item of {len(content)} bytes is over the limit of {MAX_ITEM_BYTES}")
                payloads.items[position] = content
            except InvalidInputError as error:
                payloads.errors[position] = error.reason
        return payloads

    def _columns(self, content: list[bytes]) -> dict[str, list[bytes]]:
        items = [unpack(item) for item in content]
        # A row of no bytes is an absent part.
        return {
            input_name(modality): [item[modality].tobytes() if modality in item else b"" for item in items]
            for modality in self.modalities
        }
