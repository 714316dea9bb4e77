"""Catalogues that are already in memory: Arrow tables, readers and datasets, pandas frames, lists of dicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from connector.errors import CatalogueError
from connector.ingest.arrays import tolerant_array
from connector.ingest.batch import Batch
from connector.ingest.files import cause
from connector.ingest.formats import Reader, slices


class ArrowTableReader(Reader):
    """A table, record batch, record batch reader, dataset, or anything with Arrow's stream interface (polars, DuckDB).

    A reader can be gone through once.
    """

    def __init__(self, source: Any) -> None:
        self._source = source if hasattr(source, "schema") else pa.RecordBatchReader.from_stream(source)
        self.columns = tuple(self._source.schema.names)
        self.rows = source.num_rows if isinstance(source, (pa.Table, pa.RecordBatch)) else None

    def batches(self, columns: Sequence[str], batch_rows: int, first: int = 0) -> Iterator[Batch]:
        done = 0
        try:
            for table in self._record_batches(batch_rows):
                yield from slices(table, columns, batch_rows, done)
                done += table.num_rows
        except (OSError, pa.ArrowException) as error:
            raise CatalogueError(f"the given table breaks off after row {done} ({cause(error)})") from error

    def _record_batches(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        if isinstance(self._source, pa.RecordBatch):
            yield self._source
        elif isinstance(self._source, pa.Table):
            yield from self._source.to_batches(max_chunksize=batch_rows)
        elif hasattr(self._source, "scanner"):
            yield from self._source.to_batches(batch_size=batch_rows, batch_readahead=1, fragment_readahead=1)
        else:
            yield from self._source


class FrameReader(Reader):
    """A pandas data frame; its index is not a column."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.columns = tuple(str(name) for name in frame.columns)
        self.rows = len(frame)

    def batches(self, columns: Sequence[str], batch_rows: int, first: int = 0) -> Iterator[Batch]:
        for first in range(0, len(self._frame), batch_rows):
            part = self._frame.iloc[first : first + batch_rows]
            cells = {
                name: tolerant_array(part.iloc[:, position])
                for position, name in enumerate(self.columns)
                if name in columns
            }
            yield Batch(np.arange(first, first + len(part), dtype=np.int64), cells)


class RecordsReader(Reader):
    """A list of dicts."""

    def __init__(self, records: Sequence[dict[str, Any]]) -> None:
        self._records = records
        self.columns = tuple(dict.fromkeys(name for record in records for name in record))
        self.rows = len(records)

    def batches(self, columns: Sequence[str], batch_rows: int, first: int = 0) -> Iterator[Batch]:
        for first in range(0, len(self._records), batch_rows):
            part = self._records[first : first + batch_rows]
            cells = {name: tolerant_array([r.get(name) for r in part]) for name in columns if name in self.columns}
            yield Batch(np.arange(first, first + len(part), dtype=np.int64), cells)


def table_reader(source: Any) -> Reader:
    """Reader of an in-memory source.

    Raises:
        CatalogueError: a type that is not a table.
    """
    if isinstance(source, (pa.Table, pa.RecordBatch, pa.RecordBatchReader)) or hasattr(source, "scanner"):
        return ArrowTableReader(source)
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        return FrameReader(source)
    if hasattr(source, "__arrow_c_stream__"):
        return ArrowTableReader(source)
    if isinstance(source, (list, tuple)) and all(isinstance(record, dict) for record in source):
        return RecordsReader(source)
    raise CatalogueError(
        f"a catalogue of type {type(source).__name__} cannot be read; give a path, URL, Arrow table or data frame"
    )
