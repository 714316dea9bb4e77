"""Whether a file is a picture, a sound or a film, by how it begins or what it is called."""

from __future__ import annotations

import re
from typing import Literal, get_args

Medium = Literal["image", "audio", "video"]
MEDIA: tuple[Medium, ...] = get_args(Medium)

_STARTS: dict[Medium, tuple[bytes, ...]] = {
    "image": (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*"),
    "audio": (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1", b"\xff\xf9"),
    "video": (b"\x1aE\xdf\xa3", b"FLV\x01", b"\x00\x00\x01\xba"),
}
_RIFF: dict[bytes, Medium] = {b"WEBP": "image", b"WAVE": "audio", b"AVI ": "video"}
_FORM: dict[bytes, Medium] = {b"AIFF": "audio", b"AIFC": "audio"}
_BRANDS: dict[bytes, Medium] = {b"avif": "image", b"heic": "image", b"M4A ": "audio", b"M4B ": "audio"}
_ENDINGS: dict[Medium, str] = {
    "image": "jpe?g|png|webp|gif|bmp|tiff?",
    "audio": "wav|flac|ogg|oga|opus|mp3|aiff?|aac|m4a",
    "video": "mp4|m4v|mkv|webm|avi|mov|mpe?g",
}
_SUFFIXES = {medium: re.compile(rf"\.({endings})($|[?#])", re.IGNORECASE) for medium, endings in _ENDINGS.items()}


def medium_of_bytes(data: bytes) -> Medium | None:
    """What a file holds, from its first twelve bytes; None where they say nothing."""
    kind = data[8:12]
    if data[:4] == b"RIFF":
        return _RIFF.get(kind)
    if data[:4] == b"FORM":
        return _FORM.get(kind)
    if data[4:8] == b"ftyp":
        return _BRANDS.get(kind, "video")
    return next((medium for medium in MEDIA if data.startswith(_STARTS[medium])), None)


def medium_of_name(name: str) -> Medium | None:
    """What a path or a URL leads to, from its ending; None where that says nothing."""
    return next((medium for medium in MEDIA if _SUFFIXES[medium].search(name)), None)
