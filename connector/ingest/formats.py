"""One reader for each columnar format: columns known at once, then batches in bounded memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from connector.errors import CatalogueError
from connector.ingest.arrays import plain_array
from connector.ingest.batch import Batch
from connector.ingest.files import CatalogueFile, cause

BATCH_BYTES = 32 * 1024 * 1024
_PAGE_BUFFER = 1024 * 1024


class Reader(ABC):
    """One file of a catalogue.

    Attributes:
        columns: names in the file's order.
        rows: how many, where the file says so.
    """

    columns: tuple[str, ...]
    rows: int | None = None

    @abstractmethod
    def batches(self, columns: Sequence[str], batch_rows: int, first: int = 0) -> Iterator[Batch]:
        """Batches of at most `batch_rows` rows with those of `columns` that the file has; positions from 0.

        Args:
            first: where one of its batches begins; those before it are not needed, and may come all the same.

        Raises:
            CatalogueError: the file breaks off or is corrupt.
        """


def slices(table: pa.RecordBatch, columns: Sequence[str], batch_rows: int, start: int) -> Iterator[Batch]:
    """A record batch cut into batches; `start` is the position of its first row."""
    for offset in range(0, table.num_rows, batch_rows):
        part = table.slice(offset, batch_rows)
        cells = {name: plain_array(part.column(name)) for name in columns if name in part.schema.names}
        first = start + offset
        yield Batch(np.arange(first, first + part.num_rows, dtype=np.int64), cells)


class ParquetReader(Reader):
    """Parquet, read page by page: neither a row group nor a column chunk is held whole."""

    def __init__(self, file: CatalogueFile) -> None:
        self._file = file
        with file.open() as handle:
            try:
                metadata = pq.read_metadata(handle)
                schema = metadata.schema.to_arrow_schema()
            except Exception as error:
                raise CatalogueError(f"{file.path}: broken Parquet ({cause(error)}); export it again") from error
        self.columns = tuple(schema.names)
        self.rows = metadata.num_rows
        self._metadata = metadata

    def batches(self, columns: Sequence[str], batch_rows: int, first: int = 0) -> Iterator[Batch]:
        wanted = [name for name in columns if name in self.columns]
        groups, done = self._groups_from(first)
        with self._file.open() as handle:
            try:
                parquet = pq.ParquetFile(handle, buffer_size=_PAGE_BUFFER, pre_buffer=False)
                if not wanted:
                    yield from _empty_rows(self.rows or 0, batch_rows)
                    return
                rows = self._fitting_rows(wanted, batch_rows)
                tables = parquet.iter_batches(batch_size=rows, row_groups=groups, columns=wanted, use_threads=False)
                if done:
                    tables, done = _cut_anew(tables, first - done, rows), first
                for table in tables:
                    yield from slices(table, wanted, rows, done)
                    done += table.num_rows
            except Exception as error:
                raise CatalogueError(
                    f"{self._file.path}: broken Parquet after row {done} ({cause(error)}); export it again"
                ) from error

    def _groups_from(self, first: int) -> tuple[list[int], int]:
        """Row groups from the one that holds row `first`, and the position of their first row."""
        before = 0
        for group in range(self._metadata.num_row_groups):
            rows = self._metadata.row_group(group).num_rows
            if before + rows > first:
                return list(range(group, self._metadata.num_row_groups)), before
            before += rows
        return [], before

    def _fitting_rows(self, columns: Sequence[str], batch_rows: int) -> int:
        """Fewer rows at once where cells are big: a batch should stay under `BATCH_BYTES`."""
        roots, widest = set(columns), 1.0
        for index in range(self._metadata.num_row_groups):
            group = self._metadata.row_group(index)
            size = sum(
                group.column(c).total_uncompressed_size
                for c in range(group.num_columns)
                if group.column(c).path_in_schema.split(".", 1)[0] in roots or group.column(c).path_in_schema in roots
            )
            widest = max(widest, size / max(group.num_rows, 1))
        return max(1, min(batch_rows, int(BATCH_BYTES / widest)))


class ArrowReader(Reader):
    """Arrow IPC: the file form (also Feather) and the stream form."""

    def __init__(self, file: CatalogueFile) -> None:
        self._file = file
        with file.open() as handle:
            self.columns = tuple(self._open(handle).schema.names)

    def batches(self, columns: Sequence[str], batch_rows: int, first: int = 0) -> Iterator[Batch]:
        done = 0
        with self._file.open() as handle:
            reader = self._open(handle)
            try:
                for table in _record_batches(reader):
                    _check_layout(table)
                    yield from slices(table, columns, batch_rows, done)
                    done += table.num_rows
            except Exception as error:
                raise CatalogueError(
                    f"{self._file.path}: broken Arrow file after row {done} ({cause(error)}); export it again"
                ) from error

    def _open(self, handle: Any) -> Any:
        start = handle.read(6)
        handle.seek(0)
        try:
            return pa.ipc.open_file(handle) if start == b"ARROW1" else pa.ipc.open_stream(handle)
        except Exception as error:
            raise CatalogueError(f"{self._file.path}: broken Arrow file ({cause(error)}); export it again") from error


def _record_batches(reader: Any) -> Iterator[pa.RecordBatch]:
    if hasattr(reader, "num_record_batches"):
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from reader


def _check_layout(table: pa.RecordBatch) -> None:
    """Arrow files carry raw offsets; wrong ones would read outside the buffers. Bad UTF-8 is judged by row, later."""
    for column in table.columns:
        if pt.is_string(column.type):
            column.view(pa.binary()).validate(full=True)
        elif pt.is_large_string(column.type):
            column.view(pa.large_binary()).validate(full=True)
        else:
            try:
                column.validate(full=True)
            except pa.ArrowInvalid as error:
                if "UTF8" not in str(error):
                    raise


def _empty_rows(total: int, batch_rows: int) -> Iterator[Batch]:
    for first in range(0, total, batch_rows):
        yield Batch(np.arange(first, min(first + batch_rows, total), dtype=np.int64), {})


def _cut_anew(tables: Iterator[pa.RecordBatch], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows without the first `skip`, in batches of `rows`."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for table in tables:
        left_out = min(skip, table.num_rows)
        skip -= left_out
        waiting.append(table.slice(left_out))
        count += table.num_rows - left_out
        if count >= rows:
            whole = _joined(waiting)
            yield whole.slice(0, rows)
            waiting, count = [whole.slice(rows)], count - rows
    if count:
        yield _joined(waiting)


def _joined(tables: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(tables).combine_chunks().to_batches()[0]
