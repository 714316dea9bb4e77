"""The content vectors that a universal encoder knows its items by: one safetensors file, checked by its hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoders.errors import EncoderLoadError, InvalidInputError
from encoders.wire import pack, unpack

CONTENT = "content.safetensors"
PART = "content"


def content_file(vectors: NDArray[np.float32]) -> bytes:
    """Content of `content.safetensors`: float32 [items, content], in the order of `items.json`."""
    return pack({PART: np.ascontiguousarray(vectors, np.float32)})


def read_content_table(path: Path, digest: str) -> NDArray[np.float32]:
    """Vectors float32 [items, content].

    Raises:
        EncoderLoadError: it is missing, or not the file whose sha256 is `digest`.
    """
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        raise EncoderLoadError(
            f"{path}: is missing or was changed after the training; train or export the encoder again"
        )
    try:
        return np.asarray(unpack(content)[PART], np.float32)
    except (InvalidInputError, KeyError) as error:
        raise EncoderLoadError(f"{path}: does not hold the part {PART!r}; train the encoder again") from error
