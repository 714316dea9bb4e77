"""Raw inputs on their way to the server: checked, put in an order that batches well, and cut into requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from encoders.histories import history_bytes

MAX_ITEM_BYTES = 256 * 1024 * 1024
# Small enough for the 64 MiB of shared memory that a container has by default, through which Triton hands them on.
MAX_REQUEST_BYTES = 8 * 1024 * 1024


@dataclass
class Payloads:
    """Inputs as bytes, with the positions they had.

    Attributes:
        items: bytes of the sound inputs, by position.
        errors: position of each other input → reason.
    """

    items: dict[int, bytes] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)


def prepare(items: Sequence[Any], modality: str) -> Payloads:
    """Turn raw inputs into bytes; what cannot be one is reported by position and never sent."""
    payloads = Payloads()
    for position, item in enumerate(items):
        try:
            payloads.items[position] = _as_bytes(item, modality)
        except ValueError as error:
            payloads.errors[position] = str(error)
    return payloads


def batches(payloads: Payloads, size: int, *, by_length: bool) -> list[list[int]]:
    """Positions of each request: at most `size` inputs and `MAX_REQUEST_BYTES`, a larger input alone.

    Args:
        by_length: put inputs of like length together, longest first. Texts of a batch are padded to its longest, and
            with the slowest request first the last ones leave no core idle.
    """
    positions = list(payloads.items)
    if by_length and len(positions) > size:
        positions.sort(key=lambda position: -len(payloads.items[position]))
    cut: list[list[int]] = []
    held = 0
    for position in positions:
        length = len(payloads.items[position])
        if not cut or len(cut[-1]) >= size or held + length > MAX_REQUEST_BYTES:
            cut.append([])
            held = 0
        cut[-1].append(position)
        held += length
    return cut


def _as_bytes(item: Any, modality: str) -> bytes:
    if modality == "text" and isinstance(item, str):
        try:
            content = item.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"text is not valid Unicode: {error.reason}") from error
    elif item is None:
        raise ValueError(f"{modality} is null")
    elif modality == "sequence":
        content = history_bytes(item)
    elif isinstance(item, bytes | bytearray | memoryview):
        content = bytes(item)
    else:
        expected = "str or UTF-8 bytes" if modality == "text" else "the bytes of a file"
        raise ValueError(f"expected {expected}, got {type(item).__name__}")
    if len(content) > MAX_ITEM_BYTES:
        raise ValueError(f"input of {len(content)} bytes is over the limit of {MAX_ITEM_BYTES}")
    return content
