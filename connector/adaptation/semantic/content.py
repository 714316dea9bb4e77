"""Reading the vectors of items."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from connector.adaptation.semantic.spec import ContentSource
from connector.adaptation.spec import columns_of
from connector.adaptation.templates import rendered
from connector.errors import CatalogueError, TrainingError
from connector.evaluation.interactions import ids_of

if TYPE_CHECKING:
    from encoders.contract import EncoderContract

# Of numbers of unit vectors: what float32 leaves of equal vectors after they were scaled.
ALIKE = 1e-6
# Why an item is left out.
NO_WORDS = "item without words"


@dataclass(frozen=True)
class Content:
    """Items and their vectors.

    Attributes:
        ids: of the items.
        vectors: at unit length, float32 [items, dim].
        encoder: contract of the encoder that made them here; None for those that came in a column.
        skipped: reason → items left out.
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    encoder: EncoderContract | None = None
    skipped: Counter[str] = field(default_factory=Counter)


def made_by(encoder: EncoderContract | None) -> str:
    """Of content vectors, for a card: which encoder made them."""
    return f"made by `{encoder.label}`" if encoder else "read from a column; which encoder made them is not recorded"


def require_distinct(source: ContentSource, vectors: NDArray[np.float32]) -> None:
    """Check that unit vectors of a source, float32 [n, dim], are not all the same one.

    Raises:
        TrainingError: they are; names file and column.
    """
    if len(vectors) > 1 and all_alike(vectors):
        made_of = f"column {source.vector!r}" if source.text is None else f"text {source.text!r}"
        raise TrainingError(
            f"{source.path}: the vectors of all {len(vectors)} items ({made_of}) are alike, so that nothing tells one "
            "from another; name what differs"
        )


def all_alike(vectors: NDArray[np.float32]) -> bool:
    """Whether unit vectors, float32 [n ≥ 1, dim], are all the same one."""
    return float(np.abs(vectors - vectors[0]).max()) <= ALIKE


def read_content(source: ContentSource, *, show: bool = True) -> Content:
    """Item ids and their vectors, from a column or made of words by a text encoder; items without words are left out.

    Args:
        show: draw a progress bar while words are encoded.

    Raises:
        CatalogueError: no such file or columns, an id without a vector or there twice, vectors of several lengths, of
            zeros or with numbers that are not finite, words that cannot be encoded, no item that has any.
        EncoderLoadError: a text encoder that cannot be loaded.
    """
    if source.text is not None:
        return _of_words(source, source.text, show)
    try:
        table = pq.read_table(source.path, columns=[source.key, source.vector])
        keys, column = ids_of(table[source.key]), table[source.vector]
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        raise CatalogueError(f"{source.path}: no readable columns {source.key!r} and {source.vector!r}") from error
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise CatalogueError(f"{source.path}: {source.vector!r} holds {kind} and not lists of numbers")
    ids = keys.to_pylist()
    if not ids:
        raise CatalogueError(f"{source.path}: holds no items")
    if keys.null_count or column.null_count or len(set(ids)) < len(ids):
        raise CatalogueError(f"{source.path}: every item needs an id of its own and a vector")
    rows = column.to_numpy()
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise CatalogueError(
            f"{source.path}: vectors of {min(lengths)} to {max(lengths)} numbers; all must have as many"
        )
    try:
        vectors = np.stack(rows).astype(np.float32)
    except (ValueError, TypeError) as error:
        raise CatalogueError(f"{source.path}: {source.vector!r} holds something that is no number") from error
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        bad = ids[int(np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))[0])]
        raise CatalogueError(f"{source.path}: the vector of {bad!r} is of zeros, or holds numbers that are not finite")
    return Content(ids, vectors / norms)


def _of_words(source: ContentSource, template: str, show: bool) -> Content:
    import encoders
    from connector.adaptation.bar import TrainingBar

    names = list(dict.fromkeys(columns_of(template)))
    try:
        table = pq.read_table(source.path, columns=list(dict.fromkeys([source.key, *names])))
        ids = ids_of(table[source.key]).to_pylist()
        columns = {name: table[name].to_pylist() for name in names}
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        wanted = ", ".join(map(repr, (source.key, *names)))
        raise CatalogueError(f"{source.path}: no readable columns {wanted}") from error
    if None in ids or len(set(ids)) < len(ids) or not ids:
        raise CatalogueError(f"{source.path}: every item needs an id of its own")
    rows = ({name: values[row] for name, values in columns.items()} for row in range(len(ids)))
    worded = {item: filled for item, row in zip(ids, rows, strict=True) if (filled := rendered(template, row))}
    if not worded:
        raise CatalogueError(f"{source.path}: no item has words: in all of them {', '.join(map(repr, names))} is empty")
    skipped = Counter({NO_WORDS: len(ids) - len(worded)} if len(worded) < len(ids) else {})
    ids, words = list(worded), list(worded.values())
    parts: list[NDArray[np.float32]] = []
    with (
        encoders.load(source.encoder, modality="text") as text,
        TrainingBar("encoding words", len(words), show=show) as bar,
    ):
        encoder = text.contract
        for start in range(0, len(words), 256):
            result = text.encode_tolerant(words[start : start + 256])
            for row, reason in sorted(result.errors.items()):
                raise CatalogueError(f"{source.path}: item {ids[start + row]!r}: {reason}")
            parts.append(result.vectors)
            bar.advance(len(result.vectors))
    vectors = np.concatenate(parts)
    norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return Content(ids, np.asarray(vectors / norms, np.float32), encoder, skipped)
