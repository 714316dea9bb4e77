"""Reading the vectors of items."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from connector.adaptation.semantic.spec import ContentSource
from connector.errors import CatalogueError


def read_content(source: ContentSource) -> tuple[list[str], NDArray[np.float32]]:
    """Item ids and their vectors at unit length, float32 [items, dim].

    Raises:
        CatalogueError: no such file or columns, an id without a vector or there twice, vectors of several lengths, of
            zeros or with numbers that are not finite.
    """
    try:
        table = pq.read_table(source.path, columns=[source.key, source.vector])
        keys, column = table[source.key].cast(pa.string()), table[source.vector]
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
    return ids, vectors / norms
