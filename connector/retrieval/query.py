"""The query model: what was asked, checked before anything is encoded or searched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connector.errors import QueryError
from connector.retrieval.fusion import FusionMethod, Key

MAX_K = 10_000
MAX_HISTORY = 10_000
ARGUMENTS = {"sequence": "history"}
"""Modality → argument of a search, where it is called otherwise."""

Raw = str | bytes | list[str]


@dataclass(frozen=True)
class Query:
    """A checked search.

    Attributes:
        weights: the spaces to search and what each weighs in the fusion, > 0.
        raw: raw inputs by modality (`text`: str, `image`, `audio`, `video`: file bytes, `sequence`: ids, oldest first).
        vector: float32 [dimension], or None.
        item: key of a stored item whose own vectors are the query, or None.
        k: hits wanted, 1 … 10,000.
        where: SQL condition over the scalars of the spaces.
        features: Feast feature references `view:feature` to join, or the name of a feature service.
        fields: scalars to return; None returns all that the spaces carry.
        params: index search parameters, e.g. {"ef": 128}.
    """

    weights: dict[str, float]
    raw: dict[str, Raw] = field(default_factory=dict)
    vector: NDArray[np.float32] | None = None
    item: Key | None = None
    k: int = 20
    where: str | None = None
    fusion: FusionMethod = "rrf"
    features: tuple[str, ...] | str = ()
    fields: tuple[str, ...] | None = None
    params: dict[str, Any] | None = None

    @property
    def known(self) -> tuple[Key, ...]:
        """Items that the query is made of, and that its answer leaves out."""
        return (self.item,) if self.item is not None else tuple(self.raw.get("sequence", ()))


def build_query(
    spaces: str | Sequence[str] | Mapping[str, float],
    *,
    text: str | None = None,
    image: bytes | str | Path | None = None,
    audio: bytes | str | Path | None = None,
    video: bytes | str | Path | None = None,
    history: Sequence[Key] | None = None,
    vector: ArrayLike | None = None,
    item_id: Key | None = None,
    k: int = 20,
    where: str | None = None,
    fusion: FusionMethod = "rrf",
    features: Sequence[str] | str = (),
    fields: Sequence[str] | None = None,
    search_params: Mapping[str, Any] | None = None,
    max_text_bytes: int = 256 * 1024,
    max_media_bytes: int = 32 * 1024 * 1024,
) -> Query:
    """Check the arguments of a search.

    Raises:
        QueryError: names the argument and what it should be.
    """
    raw: dict[str, Raw] = {}
    if text is not None:
        raw["text"] = _text(text, max_text_bytes)
    for modality, content in (("image", image), ("audio", audio), ("video", video)):
        if content is not None:
            raw[modality] = _media(modality, content, max_media_bytes)
    if history is not None:
        raw["sequence"] = _history(history)
    kinds = [name for name, given in (("vector", vector), ("item_id", item_id)) if given is not None]
    if len(kinds) + bool(raw) != 1:
        given = [*(ARGUMENTS.get(modality, modality) for modality in raw), *kinds]
        raise QueryError(
            "give one query: text=, image=, audio=, video= and/or history=, or vector=, or item_id=; "
            + (f"given together: {', '.join(given)}" if given else "none was given")
        )
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
        raise QueryError(f"k must be a whole number from 1 to {MAX_K}, not {k!r}")
    if fusion not in get_args(FusionMethod):
        raise QueryError(f"fusion must be one of {', '.join(get_args(FusionMethod))}, not {fusion!r}")
    if item_id is not None and (isinstance(item_id, bool) or not isinstance(item_id, str | int)):
        raise QueryError(f"item_id must be the key of a stored item (text or whole number), not {item_id!r}")
    return Query(
        weights=_weights(spaces),
        raw=raw,
        vector=None if vector is None else _vector(vector),
        item=item_id,
        k=k,
        where=where if where and where.strip() else None,
        fusion=fusion,
        features=features if isinstance(features, str) else tuple(features),
        fields=None if fields is None else _fields(fields),
        params=dict(search_params) if search_params else None,
    )


def _weights(spaces: str | Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    if isinstance(spaces, str):
        return {spaces: 1.0}
    given = dict(spaces) if isinstance(spaces, Mapping) else dict.fromkeys(spaces, 1.0)
    weights: dict[str, float] = {}
    for name, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
            raise QueryError(f"the weight of space {name!r} must be a number, not {weight!r}")
        if not math.isfinite(weight) or weight < 0:
            raise QueryError(f"the weight of space {name!r} must be finite and not below zero, not {weight!r}")
        if weight > 0:
            weights[name] = float(weight)
    if not weights:
        raise QueryError("name at least one space with a weight above zero")
    return weights


def _text(text: str, limit: int) -> str:
    if not isinstance(text, str):
        raise QueryError(f"text must be a string, not {type(text).__name__}")
    if not text.strip():
        raise QueryError("text is empty; say what to look for")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise QueryError("text holds characters that are not valid Unicode") from error
    if size > limit:
        raise QueryError(f"text has {size} bytes, more than the {limit} of ingest.max_text_bytes")
    return text


def _history(history: Sequence[Key]) -> list[str]:
    if isinstance(history, str | bytes) or not isinstance(history, Sequence):
        raise QueryError(f"history must be a list of item ids, oldest first, not {type(history).__name__}")
    if not 0 < len(history) <= MAX_HISTORY:
        raise QueryError(f"history must have from 1 to {MAX_HISTORY} items, not {len(history)}")
    for item in history:
        if isinstance(item, bool) or not isinstance(item, str | int):
            raise QueryError(f"history holds {item!r}, which is no item id (text or whole number)")
    return [str(item) for item in history]


def _media(kind: str, content: bytes | str | Path, limit: int) -> bytes:
    if isinstance(content, bytes | bytearray | memoryview):
        data = bytes(content)
        if len(data) > limit:
            raise QueryError(f"{kind} has {len(data)} bytes, more than the {limit} of ingest.max_media_bytes")
    elif isinstance(content, str | Path):
        path = Path(content)
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except (OSError, ValueError) as error:
            raise QueryError(
                f"{kind} {str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}"
            ) from error
        if len(data) > limit:
            raise QueryError(f"{kind} {str(path)!r} is larger than the {limit} bytes of ingest.max_media_bytes")
    else:
        raise QueryError(f"{kind} must be the bytes of a file or a path, not {type(content).__name__}")
    if not data:
        raise QueryError(f"{kind} is empty")
    return data


def _vector(vector: ArrayLike) -> NDArray[np.float32]:
    try:
        array = np.asarray(vector, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise QueryError("vector must be a flat sequence of numbers") from error
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 1 or not array.size:
        raise QueryError(f"vector must be one flat sequence of numbers, not of shape {list(array.shape)}")
    if not np.isfinite(array).all():
        raise QueryError("vector holds NaN or infinite values")
    return array


def _fields(fields: Sequence[str]) -> tuple[str, ...]:
    if isinstance(fields, str):
        return (fields,)
    return tuple(dict.fromkeys(fields))
