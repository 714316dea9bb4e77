"""Inputs of several parts as one byte string: the safetensors format, so that any language can write them.

A fused item (`{"text": …, "image": …}`) or a history (`{"items": …, "times": …}`) travels as one safetensors file in
memory: eight bytes header length (little endian), a JSON header `{name: {"dtype", "shape", "data_offsets"}}`, the data.
Raw bytes and UTF-8 texts are U8 [size], lists of ids a JSON array as U8, vectors F32. Read with every length checked:
what arrives may be hostile.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.errors import InvalidInputError

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MOST_HEADER = 64 * 1024
MOST_PARTS = 256
MOST_DIMENSIONS = 8
METADATA = "__metadata__"
ABSENT = "nothing is there (no bytes)"
"""Reason by which a served encoder answers a row of no bytes; to a fused encoder it says that the part is absent."""
NO_SOUND = "holds no sound"
"""Reason by which an encoder of sounds answers a film without a sound track: nothing is broken, it is not there."""


def pack(parts: Mapping[str, Any]) -> bytes:
    """Parts by name → one byte string; parts that are None are left out.

    Args:
        parts: `bytes`, `str`, numeric arrays, or lists (of texts, or of numbers).

    Raises:
        InvalidInputError: not a mapping of names to such values.
    """
    if not isinstance(parts, Mapping) or not all(isinstance(name, str) and name != METADATA for name in parts):
        raise InvalidInputError(f"expected parts by name, got {type(parts).__name__}")
    header: dict[str, Any] = {}
    buffers: list[bytes] = []
    end = 0
    for name, value in parts.items():
        if value is None:
            continue
        array = _array(name, value)
        content = array.tobytes()
        header[name] = {
            "dtype": NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [end, end + len(content)],
        }
        buffers.append(content)
        end += len(content)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MOST_HEADER or len(header) > MOST_PARTS:
        raise InvalidInputError(f"more parts or longer names than fit ({MOST_PARTS} parts, {MOST_HEADER} bytes)")
    return b"".join([struct.pack("<Q", len(text)), text, *buffers])


def unpack(content: bytes | bytearray | memoryview) -> dict[str, NDArray[Any]]:
    """What `pack` wrote → arrays by name; raw bytes and texts come back as uint8 [size].

    Raises:
        InvalidInputError: not that format, or a header that does not agree with the data behind it.
    """
    data = memoryview(content).cast("B")
    if len(data) < 8:
        raise InvalidInputError("is shorter than a safetensors header")
    (length,) = struct.unpack("<Q", data[:8])
    if not 2 <= length <= min(MOST_HEADER, len(data) - 8):
        raise InvalidInputError("is not in safetensors format (its header's length is not within the data)")
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("is not in safetensors format (its header is not JSON)") from error
    if not isinstance(header, dict) or len(header) > MOST_PARTS + 1:
        raise InvalidInputError(f"has a header that is not an object of at most {MOST_PARTS} parts")
    header.pop(METADATA, None)
    body = data[8 + length :]
    end = 0
    found: dict[str, NDArray[Any]] = {}
    for name, entry in sorted(header.items(), key=_start):
        found[name], end = _read(entry, body, end)
    if end != len(body):
        raise InvalidInputError(f"has {len(body)} bytes of data where its header describes {end}")
    return found


def pack_text(name: str, content: bytes) -> bytes:
    """What `pack({name: content})` writes; of one part it is most of the work to find out that there is no other."""
    return _text_header(name, len(content)) + content


def unpack_text(name: str, content: bytes) -> bytes | None:
    """What `pack_text` was given; None for anything that it did not write under this name, byte for byte."""
    start = 8 + int.from_bytes(content[:8], "little")
    size = len(content) - start
    return content[start:] if size >= 0 and content.startswith(_text_header(name, size)) else None


def row_checks(rows: Sequence[bytes], query: NDArray[np.bool_] | bool = False) -> NDArray[np.uint32]:
    """By which an answer is known to be that of its own request: a CRC-32 of each row's bytes, which travels back.

    Args:
        rows: n rows as they travel.
        query: bool [n], or one for all: true on the query side, whose CRC begins with 1.

    Returns:
        uint32 [n].
    """
    sides = np.broadcast_to(np.asarray(query, bool), len(rows)).tolist()
    return np.fromiter((zlib.crc32(row, side) for row, side in zip(rows, sides, strict=True)), np.uint32, len(rows))


def joined_checks(columns: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint32]:
    """Checks of rows of several parts, from those of each part: uint32 [n] each → uint32 [n]; of one part its own."""
    if len(columns) == 1:
        return columns[0]
    rows = np.stack(columns, axis=1).astype("<u4")
    return np.fromiter((zlib.crc32(row.tobytes()) for row in rows), np.uint32, len(rows))


def to_bytes(item: Any) -> bytes:
    """A row as it travels: bytes as they are, a mapping packed.

    Raises:
        InvalidInputError: neither of them.
    """
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    if item is None:
        raise InvalidInputError("input is null")
    if isinstance(item, Mapping):
        return pack(item)
    raise InvalidInputError(f"expected parts by name or packed bytes, got {type(item).__name__}")


def parts_of(item: Any) -> dict[str, Any]:
    """A row as it was given: a mapping as it is (without its Nones), bytes unpacked.

    Raises:
        InvalidInputError: neither of them, or damaged bytes.
    """
    if isinstance(item, (bytes, bytearray, memoryview)):
        return dict(unpack(item))
    if item is None:
        raise InvalidInputError("input is null")
    if not isinstance(item, Mapping):
        raise InvalidInputError(f"expected parts by name or packed bytes, got {type(item).__name__}")
    return {str(name): value for name, value in item.items() if value is not None}


def _text_header(name: str, size: int) -> bytes:
    text = b'{%s:{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (json.dumps(name).encode(), size, size)
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _array(name: str, value: Any) -> NDArray[Any]:
    if isinstance(value, str):
        try:
            return np.frombuffer(value.encode(), np.uint8)
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"{name}: text is not valid Unicode ({error.reason})") from error
    if isinstance(value, (bytes, bytearray, memoryview)):
        return np.frombuffer(bytes(value), np.uint8)
    if isinstance(value, (list, tuple)) and value and all(isinstance(entry, str) for entry in value):
        return np.frombuffer(json.dumps(list(value)).encode(), np.uint8)
    try:
        array = np.ascontiguousarray(value)
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"{name}: is not one array ({error})") from error
    if array.dtype not in NAMES:
        raise InvalidInputError(f"{name}: {type(value).__name__} of {array.dtype} is neither bytes, text nor numbers")
    return array


def _start(entry: tuple[str, Any]) -> int:
    try:
        start, end = entry[1]["data_offsets"]
    except (TypeError, KeyError, ValueError, IndexError) as error:
        raise InvalidInputError("has a part without data_offsets") from error
    if type(start) is not int or type(end) is not int or not 0 <= start <= end:
        raise InvalidInputError("has a part whose data_offsets are no range")
    return start


def _read(entry: dict[str, Any], body: memoryview, expected: int) -> tuple[NDArray[Any], int]:
    start, end = entry["data_offsets"]
    shape, dtype = entry.get("shape"), DTYPES.get(str(entry.get("dtype")))
    sound = isinstance(shape, list) and len(shape) <= MOST_DIMENSIONS and all(type(s) is int and s >= 0 for s in shape)
    if dtype is None or not sound:
        raise InvalidInputError("has a part of an unknown dtype or shape")
    if start != expected or end > len(body) or math.prod(entry["shape"]) * dtype.itemsize != end - start:
        raise InvalidInputError("has a part whose data does not lie where its header says")
    try:
        return np.frombuffer(body[start:end], dtype).reshape(entry["shape"]).copy(), end
    except (ValueError, OverflowError) as error:  # of no numbers at all, a shape may have any other length
        raise InvalidInputError("has a part of an impossible shape") from error
