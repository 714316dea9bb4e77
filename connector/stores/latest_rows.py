"""The newest row of each key in Parquet files, at bounded memory: keys and times first, then the rest of the newest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connector.errors import StoreError

if TYPE_CHECKING:
    import pyarrow.dataset as ds
    from numpy.typing import NDArray

MICROSECONDS = pa.timestamp("us", "UTC")
ROWS_AT_ONCE = 8192
BYTES_AT_ONCE = 64 * 1024**2
"""Of a table that is given out: large enough that writing it keeps several batches under way."""


@dataclass(frozen=True)
class ParquetRows:
    """Columns of Parquet files as their source names them.

    Attributes:
        name: of the source, for messages.
        keys: join key columns.
        features: further columns wanted.
        event: column of event times; a time without a zone is UTC.
        created: column of created times, if there is one.
    """

    name: str
    dataset: ds.Dataset
    keys: tuple[str, ...]
    features: tuple[str, ...]
    event: str
    created: str | None

    @property
    def columns(self) -> list[str]:
        """Every column that is read, each once."""
        return list(dict.fromkeys([*self.keys, *self.features, self.event, *([self.created] if self.created else [])]))


def latest_rows(source: ParquetRows, start: datetime, end: datetime) -> Iterator[pa.Table]:
    """Rows of the newest (event, created) of each key with `start` ≤ event ≤ `end`, some megabytes at a time.

    Raises:
        StoreError: a column is not there, or not of times.
    """
    fragments = list(source.dataset.get_fragments())
    if not fragments or not source.dataset.schema.names:
        return
    _require(source)
    winners = _winners(source, fragments, start, end)
    waiting: list[pa.RecordBatch] = []
    size = 0
    for fragment, chosen in zip(fragments, winners, strict=True):
        if not len(chosen):
            continue
        for batch in _batches(source, fragment, chosen):
            waiting.append(batch)
            size += batch.nbytes
            if size >= BYTES_AT_ONCE:
                yield pa.Table.from_batches(waiting)
                waiting, size = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def _batches(source: ParquetRows, fragment: Any, chosen: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
    start = 0
    scanned = fragment.to_batches(source.dataset.schema, columns=source.columns, batch_size=ROWS_AT_ONCE)
    for batch in scanned:
        first, last = np.searchsorted(chosen, [start, start + batch.num_rows])
        if last - first == batch.num_rows:
            yield batch
        elif last > first:
            yield batch.take(pa.array(chosen[first:last] - start))
        start += batch.num_rows


def _winners(source: ParquetRows, fragments: Sequence[Any], start: datetime, end: datetime) -> list[NDArray[np.int64]]:
    """For each file, positions of its rows that win, in their order."""
    import duckdb

    parts = []
    for number, fragment in enumerate(fragments):
        slim = fragment.to_table(source.dataset.schema, columns=[*source.keys, source.event, *_optional(source)])
        columns = {f"k{place}": slim.column(key) for place, key in enumerate(source.keys)}
        columns["event"] = _times(slim.column(source.event))
        columns["created"] = _times(slim.column(source.created)) if source.created else pa.nulls(len(slim), pa.int64())
        columns["file"] = pa.array(np.full(len(slim), number, np.int64))
        columns["place"] = pa.array(np.arange(len(slim)))
        low, high = (int(moment.timestamp() * 1_000_000) for moment in (start, end))
        table = pa.table(columns)
        parts.append(table.filter(pc.and_(pc.greater_equal(table["event"], low), pc.less_equal(table["event"], high))))
    if not parts:
        return []
    keys = ", ".join(f"k{place}" for place in range(len(source.keys)))
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("rows", pa.concat_tables(parts, promote_options="permissive"))
        found = connection.execute(
            # The names are made here, none comes from outside.
            "SELECT file, place FROM rows QUALIFY row_number() OVER "  # noqa: S608
            f"(PARTITION BY {keys} ORDER BY event DESC, created DESC NULLS LAST, file DESC, place DESC) = 1"
        ).fetchnumpy()
    files, places = np.asarray(found["file"]), np.asarray(found["place"])
    return [np.sort(places[files == number]) for number in range(len(fragments))]


def _times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(pc.cast(column, MICROSECONDS, safe=False), pa.int64())


def _optional(source: ParquetRows) -> list[str]:
    return [source.created] if source.created else []


def _require(source: ParquetRows) -> None:
    schema = source.dataset.schema
    absent = [name for name in source.columns if name not in schema.names]
    if absent:
        raise StoreError(f"{source.name}: no column {', '.join(absent)}; it has {', '.join(schema.names)}")
    for name in (source.event, *_optional(source)):
        if not pa.types.is_timestamp(schema.field(name).type):
            raise StoreError(f"{source.name}: column {name!r} is {schema.field(name).type}, expected timestamps")
