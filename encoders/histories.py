"""Histories and items in every form that callers write them in: read by one rule, in process and before they travel.

| Given | Read as |
|---|---|
| text, UTF-8 bytes, a whole number | one id |
| a list, tuple or array of those | ids |
| numbers of which one at least is a fraction, or an array of fractions | one content vector |
| a list of lists or of arrays, an array of several dimensions | content vectors, whatever kind of numbers they hold |
| `{"items": …}`, `{"vectors": …}` | what the name says |
| text or bytes: a JSON array; bytes: such parts packed | ids; the parts |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.errors import InvalidInputError
from encoders.wire import pack, pack_text, unpack, unpack_text

ITEMS, VECTORS = "items", "vectors"
MOST_ITEMS = 100_000
RAW = (bytes, bytearray, memoryview)


@dataclass(frozen=True)
class History:
    """A history, oldest first.

    Attributes:
        ids: of its items, where they were given.
        vectors: float32 [n, dimension] or [dimension], content vectors, where they were given.
    """

    ids: list[str] | None = None
    vectors: NDArray[np.float32] | None = None


def read_history(raw: Any) -> History:
    """A history in any of its forms.

    Raises:
        InvalidInputError: none of them.
    """
    raw = _parts(_plain(raw))
    if isinstance(raw, Mapping):
        items, vectors = raw.get(ITEMS), raw.get(VECTORS)
        return History(
            None if items is None and vectors is not None else _ids(items),
            None if vectors is None else _vectors(vectors),
        )
    return History(vectors=_vectors(raw)) if _numeric(raw) else History(_ids(raw))


def read_item(raw: Any) -> str | NDArray[np.float32]:
    """An item: its id, or its content vector.

    Raises:
        InvalidInputError: neither of them.
    """
    raw = _parts(_plain(raw))
    if isinstance(raw, (Mapping, list, tuple, np.ndarray)):
        vectors = read_history(raw).vectors
        if vectors is None:
            raise InvalidInputError("expected an item id, got a list")
        return vectors
    return text_of(raw)


def history_bytes(raw: Any) -> bytes:
    """A history or an item as it travels: an id as UTF-8, ids as the part `items`, content vectors as `vectors`.

    Raises:
        InvalidInputError: neither a history nor an item.
    """
    raw = _plain(raw)
    if isinstance(raw, RAW):
        return bytes(raw)
    if isinstance(raw, str) or _whole(raw):
        try:
            return str(raw).encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"text is not valid Unicode ({error.reason})") from error
    if raw is None:
        raise InvalidInputError("input is null")
    found = read_history(raw)
    if found.vectors is None and not found.ids:
        raise InvalidInputError("the history is empty")
    if found.vectors is None:
        return pack_text(ITEMS, json.dumps(found.ids).encode())
    return pack({ITEMS: found.ids, VECTORS: found.vectors})


def text_of(raw: Any) -> str:
    """An item id as text.

    Raises:
        InvalidInputError: it is neither text, UTF-8 nor a whole number.
    """
    if isinstance(raw, str):
        return raw
    if _whole(raw):
        return str(raw)
    if isinstance(raw, RAW):
        try:
            return bytes(raw).decode()
        except UnicodeDecodeError as error:
            raise InvalidInputError(f"item id is not UTF-8 (byte {error.start})") from error
    raise InvalidInputError("item id is null" if raw is None else f"expected an item id, got {type(raw).__name__}")


def _plain(raw: Any) -> Any:
    return raw.item() if isinstance(raw, np.ndarray) and raw.ndim == 0 else raw


def _parts(raw: Any) -> Any:
    """Packed bytes as parts by name; everything else as it is."""
    if isinstance(raw, RAW):
        content = bytes(raw)
        # A header's length, which no id begins with.
        if len(content) > 8 and content[4:8] == bytes(4):
            alone = unpack_text(ITEMS, content)
            if alone is not None:
                return {ITEMS: alone}
            parts: dict[str, Any] = {**unpack(content)}
            items = parts.get(ITEMS)
            # Bytes and texts come out of packed parts as uint8.
            return parts if items is None or items.dtype != np.uint8 else {**parts, ITEMS: items.tobytes()}
    return raw


def _ids(raw: Any) -> list[str]:
    raw = _plain(raw)
    if isinstance(raw, np.ndarray):
        raw = raw.tolist()
    if isinstance(raw, (str, *RAW)):
        start = raw[:1] if isinstance(raw, str) else bytes(raw[:1]).decode("latin-1")
        raw = _json(raw) if start == "[" else [raw] if start else []
    if _whole(raw):
        raw = [raw]
    if not isinstance(raw, (list, tuple)):
        raise InvalidInputError(f"expected a list of item ids, got {type(raw).__name__}")
    _require_few(len(raw))
    # As nearly all are, and told in a tenth of the time.
    return list(raw) if set(map(type, raw)) <= {str} else [text_of(entry) for entry in raw]


def _vectors(raw: Any) -> NDArray[np.float32]:
    try:
        array = np.asarray(raw)
    except ValueError as error:
        raise InvalidInputError("content vectors are not all of one length") from error
    if array.dtype.kind not in "fiu":
        raise InvalidInputError(f"content vectors hold {array.dtype}, not numbers")
    if array.ndim > 1:
        _require_few(len(array))
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _numeric(raw: Any) -> bool:
    """Whether these are content vectors rather than ids."""
    if isinstance(raw, np.ndarray):
        return raw.dtype.kind == "f" or (raw.ndim > 1 and raw.dtype.kind in "iu")
    if not isinstance(raw, (list, tuple)) or not raw:
        return False
    if isinstance(raw[0], (list, tuple, np.ndarray)):
        return True
    return all(map(_number, raw)) and not all(map(_whole, raw))


def _number(value: Any) -> bool:
    return isinstance(value, (float, np.floating)) or _whole(value)


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _require_few(count: int) -> None:
    if count > MOST_ITEMS:
        raise InvalidInputError(f"a history of {count} items is over the limit of {MOST_ITEMS}")


def _json(content: Any) -> Any:
    try:
        return json.loads(content if isinstance(content, str) else bytes(content))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("history is not a JSON array of item ids") from error
