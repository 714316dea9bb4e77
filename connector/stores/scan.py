"""Every row of a collection, page by page in the order of the primary key.

pymilvus has an iterator of its own, but it puts the last key into its filter as it is, so that a key with a quotation
mark breaks it, and on 2.3 it does not see the latest writes. Here each page asks for the keys after the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from connector.stores import results
from connector.stores.base import CollectionSpec
from connector.stores.filters.milvus import quote
from connector.stores.layout import KEY, vector_dimension

BATCH_ROWS = 4096
MOST_ROWS = 16_384
"""Milvus answers a query with no more rows than these."""
PAGE_BYTES = 4 * 1024 * 1024

Page = Callable[[str, list[str], int], list[dict[str, Any]]]


def scan_pages(
    spec: CollectionSpec, columns: Sequence[str], condition: str, batch_rows: int, page: Page
) -> Iterator[pa.RecordBatch]:
    """Batches of every row that `condition` selects.

    Args:
        columns: keys, scalars, the vector or times, as the batches are to have them.
        condition: Milvus expression; empty for all rows.
        batch_rows: the most rows of a batch.
        page: expression, Milvus columns and limit → the first so many rows in the order of the primary key.

    Raises:
        StoreError: a column that the collection does not have; raised at once.
    """
    names = list(dict.fromkeys(columns))
    wanted = list(dict.fromkeys((KEY, *results.output_fields(spec, names))))
    return _pages(spec, names, wanted, condition, batch_rows, page)


def _pages(
    spec: CollectionSpec, names: list[str], wanted: list[str], condition: str, batch_rows: int, page: Page
) -> Iterator[pa.RecordBatch]:
    last: str | None = None
    limit = _first_limit(spec, names)
    while True:
        rows = page(_after(condition, last), wanted, limit)
        if not rows:
            return
        found = [row[KEY] for row in rows]
        last, whole = found[-1], len(rows) >= limit
        arrays = results.to_columns(spec, names, found, rows)
        batch = pa.RecordBatch.from_arrays(arrays, names=names)
        del rows, found, arrays
        for start in range(0, batch.num_rows, batch_rows):
            yield batch.slice(start, batch_rows)
        if not whole:
            return
        # Texts may be long: the next page is as large as this one's rows say.
        limit = _fitting(batch.nbytes / batch.num_rows)


def _after(condition: str, last: str | None) -> str:
    if last is None:
        return condition
    after = f"{KEY} > {quote(last)}"
    return f"{after} and ({condition})" if condition else after


def _first_limit(spec: CollectionSpec, names: Sequence[str]) -> int:
    vector = spec.vector is not None and spec.vector.name in names
    texts = sum(field.type in ("string", "opaque") and field.name in names for field in spec.fields)
    return _fitting(16 * len(names) + 1024 * texts + (4 * vector_dimension(spec) if vector else 0))


def _fitting(row_bytes: float) -> int:
    return max(16, min(MOST_ROWS, int(PAGE_BYTES / max(row_bytes, 32))))
