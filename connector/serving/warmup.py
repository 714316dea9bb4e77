"""The sample that Triton runs through a model before it calls it ready."""

from __future__ import annotations

import io
import struct

WARMUP_FILE = "sample"
FOLDER = "warmup"
SIDE = 64


def has_warmup(modality: str) -> bool:
    """Whether there is a sample for a modality."""
    return modality in ("text", "image")


def warmup_content(modality: str) -> bytes:
    """Content of `warmup/sample`: one input in Triton's form, its length (uint32, little endian) before it."""
    sample = _image() if modality == "image" else b"a red dress with a floral pattern"
    return struct.pack("<I", len(sample)) + sample


def _image() -> bytes:
    from PIL import Image

    # A gradient: enough for every stage of the preprocessing to have something to do.
    ramp = bytes(channel for y in range(SIDE) for x in range(SIDE) for channel in (x * 4, y * 4, 255 - x - y))
    output = io.BytesIO()
    # Uncompressed, because the bytes of a compressed file depend on the library's version, and this one is tracked.
    Image.frombytes("RGB", (SIDE, SIDE), ramp).save(output, "BMP")
    return output.getvalue()
