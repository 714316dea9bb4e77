"""Which rows of a write are sent, and how many at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connector.stores.base import CollectionSpec
from connector.stores.columns import Columns

BATCH_BYTES = 3 * 512 * 1024
BATCH_ROWS = 2048


def newest_rows(columns: Columns) -> NDArray[np.int64]:
    """Positions of the newest row of each key, in order; of rows with equal times the last one."""
    codes = pa.array(columns.keys, pa.string()).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    if len(codes) == 0 or int(codes.max()) == len(codes) - 1:
        return np.arange(len(codes), dtype=np.int64)
    order = np.lexsort((np.arange(len(codes)), columns.created, columns.event, codes))
    ordered = codes[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    return np.sort(order[last]).astype(np.int64)


def batches(spec: CollectionSpec, columns: Columns, chosen: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The chosen positions: at most `BATCH_BYTES` (one row apart) and `BATCH_ROWS` in a batch."""
    ends = np.cumsum(_row_bytes(spec, columns, chosen))
    start = 0
    while start < len(chosen):
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + BATCH_BYTES, side="right"))
        stop = min(max(stop, start + 1), start + BATCH_ROWS)
        yield chosen[start:stop]
        start = stop


def _row_bytes(spec: CollectionSpec, columns: Columns, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    size = np.full(len(chosen), 4 * columns.vectors.shape[1] + 16 * (len(spec.fields) + 4), np.int64)
    take = pa.array(chosen)
    for scalar in (*spec.keys, *spec.fields):
        if scalar.type in ("string", "opaque"):
            lengths = pc.fill_null(pc.binary_length(columns.scalars[scalar.name].take(take)), 0)
            size += lengths.to_numpy(zero_copy_only=False)
    return size
