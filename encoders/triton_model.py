"""The Python-backend model that serves any encoder folder: the thin `model.py` beside the folder imports it.

Runs in the server's environment, so it needs neither torch nor transformers, and works with numpy 1.26.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.base import Encoder, EncodeResult, Side
from encoders.errors import ContractMismatchError, EncoderError
from encoders.folder import EncoderFolder
from encoders.limits import limits_among
from encoders.loading import load
from encoders.wire import ABSENT, row_checks

SIDES: tuple[Side, Side] = ("document", "query")


class TritonPythonModel:
    """Inputs `INPUT` (raw bytes) and optionally `QUERY` (true: query side), outputs `EMBEDDING`, `ERROR` and `CHECK`.

    A bad row has a vector of zeros and its reason in `ERROR`, which is empty for every other row. `CHECK` holds
    `encoders.wire.row_checks`; configurations written by older versions do without.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Open the encoder folder `<model repository>/<version>`.

        Args:
            args: as the Python backend gives them: `model_repository`, `model_version`, `model_config` (JSON). Its
                parameters may state `threads`, `contract_hash` and limits of the encoder (`limit.max_bytes`).

        Raises:
            EncoderLoadError: the folder is not whole, or a limit is not one of its encoder's.
            ContractMismatchError: it holds another encoder than `contract_hash` says.
        """
        folder, parameters = open_version(args)
        limits: dict[str, Any] = limits_among(parameters.items(), folder.contract.modality)
        threads = int(parameters["threads"]) if parameters.get("threads") else None
        self._checked = is_checked(args)
        self._encoder: Encoder = load(folder.path, runtime="onnx", threads=threads, **limits)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer all requests by one run of the encoder for each side."""
        import triton_python_backend_utils as backend

        items: list[bytes] = []
        queries: list[NDArray[np.bool_]] = []
        ends: list[int] = []
        for request in requests:
            rows = backend.get_input_tensor_by_name(request, "INPUT").as_numpy().reshape(-1)
            side = backend.get_input_tensor_by_name(request, "QUERY")
            queries.append(np.zeros(len(rows), bool) if side is None else side.as_numpy().reshape(-1).astype(bool))
            items.extend(rows.tolist())
            ends.append(len(items))
        query = np.concatenate(queries) if queries else np.zeros(0, bool)
        try:
            result = encode_sides(self._encoder, items, query)
        except EncoderError as error:
            failure = backend.TritonError(str(error))
            return [backend.InferenceResponse(error=failure) for _ in requests]
        return answers(backend, result, ends, row_checks(items, query) if self._checked else None)

    def finalize(self) -> None:
        """Release the encoder."""
        self._encoder.close()


def open_version(args: dict[str, str]) -> tuple[EncoderFolder, dict[str, str]]:
    """The encoder folder that a model version serves, and the model's parameters.

    Raises:
        EncoderLoadError: the folder is not whole.
        ContractMismatchError: it holds another encoder than `contract_hash` says.
    """
    parameters = {
        name: value["string_value"]
        for name, value in json.loads(args["model_config"]).get("parameters", {}).items()
        if value.get("string_value")
    }
    folder = EncoderFolder.open(Path(args["model_repository"]) / args["model_version"])
    # A model with several versions states the hash of each.
    stated = parameters.get(f"contract_hash.{args['model_version']}", parameters.get("contract_hash"))
    if stated and stated != folder.contract.hash:
        raise ContractMismatchError(
            f"config.pbtxt states contract {stated}, but the folder holds {folder.contract.label}; "
            "publish the encoder again"
        )
    return folder, parameters


def is_checked(args: dict[str, str]) -> bool:
    """Whether a model's configuration has the output `CHECK`."""
    return any(output.get("name") == "CHECK" for output in json.loads(args["model_config"]).get("output", []))


def answers(
    backend: Any, result: EncodeResult, ends: Sequence[int], checks: NDArray[np.uint32] | None = None
) -> list[Any]:
    """A response for each request.

    Args:
        ends: position after the last row of each request.
        checks: uint32 [n] for the output `CHECK`.
    """
    reasons = np.full((len(result.vectors), 1), b"", dtype=object)
    for row, reason in result.errors.items():
        reasons[row, 0] = reason.encode("utf-8", "backslashreplace")
    return [
        backend.InferenceResponse(
            output_tensors=[
                backend.Tensor("EMBEDDING", result.vectors[start:end]),
                backend.Tensor("ERROR", reasons[start:end]),
                *([] if checks is None else [backend.Tensor("CHECK", checks[start:end].reshape(-1, 1))]),
            ]
        )
        for start, end in zip([0, *ends], ends, strict=False)
    ]


def encode_sides(encoder: Encoder, items: Sequence[Any], query: NDArray[np.bool_]) -> EncodeResult:
    """Encode rows of both sides.

    Args:
        items: n raw inputs; rows of no bytes are not handed to the encoder, and `ABSENT` is their reason.
        query: bool [n], true where a row is on the query side.
    """
    there = np.fromiter((bool(len(item)) for item in items), bool, len(items))
    if not there.all():
        filled = EncodeResult(np.zeros((len(items), encoder.contract.dimension), np.float32))
        filled.errors = dict.fromkeys(np.flatnonzero(~there).tolist(), ABSENT)
        rows = np.flatnonzero(there)
        if len(rows):
            part = encode_sides(encoder, [items[row] for row in rows.tolist()], query[rows])
            filled.vectors[rows] = part.vectors
            filled.errors.update({int(rows[index]): reason for index, reason in part.errors.items()})
        return filled
    if not query.any() or query.all():
        return encoder.encode_tolerant(items, SIDES[int(bool(query.any()))])
    merged = EncodeResult(np.zeros((len(items), encoder.contract.dimension), np.float32))
    for side, rows in zip(SIDES, (np.flatnonzero(~query), np.flatnonzero(query)), strict=True):
        part = encoder.encode_tolerant([items[row] for row in rows.tolist()], side)
        merged.vectors[rows] = part.vectors
        merged.errors.update({int(rows[index]): reason for index, reason in part.errors.items()})
    return merged
