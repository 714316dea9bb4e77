"""What every kind of media is checked for first."""

from __future__ import annotations

from typing import Any

from encoders.errors import InvalidInputError


def require_bytes(content: Any, what: str, most: int) -> bytes:
    """The content as bytes.

    Raises:
        InvalidInputError: null, another type, empty, or longer than `most`.
    """
    if content is None:
        raise InvalidInputError(f"{what} is null")
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise InvalidInputError(f"expected the bytes of a {what} file, got {type(content).__name__}")
    data = bytes(content)
    if not data:
        raise InvalidInputError(f"empty {what}")
    if len(data) > most:
        raise InvalidInputError(f"{what} file of {len(data)} bytes is over the limit of {most}")
    return data


def line_of(error: BaseException) -> str:
    """An exception as one short line."""
    # What FFmpeg and libsndfile say beyond this is their log, or names addresses.
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
    return " ".join(f"{type(error).__name__}: {text}".split())[:160]
