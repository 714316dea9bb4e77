"""The sample that Triton runs through a model before it calls it ready."""

from __future__ import annotations

import io
import struct
import wave

WARMUP_FILE = "sample"
FOLDER = "warmup"
SIDE = 64
RATE = 16_000


def has_warmup(modality: str) -> bool:
    """Whether there is a sample for a modality."""
    return modality in ("text", "image", "audio", "video")


def warmup_content(modality: str) -> bytes:
    """Content of `warmup/sample`: one input in Triton's form, its length (uint32, little endian) before it."""
    made = {"image": _image, "audio": _audio, "video": _video}.get(modality)
    sample = made() if made is not None else b"a red dress with a floral pattern"
    return struct.pack("<I", len(sample)) + sample


def _image() -> bytes:
    from PIL import Image

    # A gradient: enough for every stage of the preprocessing to have something to do.
    ramp = bytes(channel for y in range(SIDE) for x in range(SIDE) for channel in (x * 4, y * 4, 255 - x - y))
    output = io.BytesIO()
    # Uncompressed, because the bytes of a compressed file depend on the library's version, and this one is tracked.
    Image.frombytes("RGB", (SIDE, SIDE), ramp).save(output, "BMP")
    return output.getvalue()


def _audio() -> bytes:
    output = io.BytesIO()
    # A saw tooth of 100 Hz for a tenth of a second.
    with wave.open(output, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(b"".join(struct.pack("<h", (n % 160 - 80) * 200) for n in range(RATE // 10)))
    return output.getvalue()


def _video() -> bytes:
    # Uncompressed, for the same reason: two frames in which brightness rises, at one a second.
    frames = (bytes(16 + level + (x + y) // 2 for y in range(SIDE) for x in range(SIDE)) for level in (0, 80))
    grey = b"\x80" * (SIDE * SIDE // 2)
    return b"YUV4MPEG2 W%d H%d F1:1 Ip A1:1 C420jpeg\n" % (SIDE, SIDE) + b"".join(
        b"FRAME\n" + frame + grey for frame in frames
    )
