"""Reader of CSV and TSV, where a bad row must not take its file with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from connector.errors import CatalogueError
from connector.ingest.arrays import plain_array
from connector.ingest.batch import Batch, plain
from connector.ingest.files import CatalogueFile, cause
from connector.ingest.formats import Reader

# One row has to fit into a block, so this is also the longest row.
BLOCK_BYTES = 16 * 1024 * 1024
_UTF16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class CsvReader(Reader):
    """CSV or TSV with a header line. Cells stay text; an unquoted empty cell is null.

    Bytes that are not UTF-8 are kept: the check of each row finds them, and only that row is lost. The file is read as
    Latin-1, in which every byte is a character, and cells are turned back into their bytes: read as UTF-8, a row that
    is no UTF-8 and has too many cells would end the file.
    """

    def __init__(self, file: CatalogueFile, delimiter: str) -> None:
        self._file = file
        self._delimiter = delimiter
        with file.open() as handle:
            try:
                head = handle.read(4096)
            except Exception as error:
                raise CatalogueError(f"{file.path}: cannot be read ({cause(error)})") from error
            if head.startswith(_UTF16_OR_32) or b"\0" in head:
                raise CatalogueError(f"{file.path}: not UTF-8 text; save it as UTF-8")
        with file.open() as handle:
            stream = self._stream(_Watched(handle), {}, {})
            try:
                self.columns = tuple(name.encode("latin-1").decode("utf-8") for name in stream.schema.names)
            except UnicodeError as error:
                raise CatalogueError(f"{file.path}: its header is not UTF-8; save it as UTF-8") from error

    def batches(self, columns: Sequence[str], batch_rows: int, first: int = 0) -> Iterator[Batch]:
        wanted = [name for name in columns if name in self.columns]
        skipped: dict[int, str] = {}
        position = 0
        with self._file.open() as handle:
            watched = _Watched(handle)
            stream = self._stream(watched, dict.fromkeys(self._raw_names, pa.string()), skipped)
            for table, is_last in _and_whether_last(self._tables(stream)):
                swallowed = _swallowed(table, watched) if is_last else 0
                for offset in range(0, table.num_rows, batch_rows):
                    part = table.slice(offset, batch_rows)
                    rows, broken, position = _positions(part.num_rows, position, skipped)
                    if swallowed and offset + part.num_rows == table.num_rows:
                        reason = f"a quote is opened and never closed; {swallowed:,} lines are in it"
                        broken[int(rows[-1])] = reason
                        rows, part = rows[:-1], part.slice(0, part.num_rows - 1)
                    cells = {name: _own_bytes(part.column(self.columns.index(name))) for name in wanted}
                    yield Batch(rows, cells, broken)
        if skipped:
            yield Batch(np.empty(0, dtype=np.int64), {n: pa.array([], pa.string()) for n in wanted}, dict(skipped))

    @property
    def _raw_names(self) -> list[str]:
        return [name.encode("utf-8").decode("latin-1") for name in self.columns]

    def _tables(self, stream: csv.CSVStreamingReader) -> Iterator[pa.RecordBatch]:
        position = 0
        while True:
            try:
                table = stream.read_next_batch()
            except StopIteration:
                return
            except Exception as error:
                raise CatalogueError(
                    f"{self._file.path}: broken CSV after row {position} ({cause(error)}); mend the file"
                ) from error
            position += table.num_rows
            yield table

    def _stream(self, handle: Any, types: dict[str, pa.DataType], skipped: dict[int, str]) -> csv.CSVStreamingReader:
        def skip(row: csv.InvalidRow) -> str:
            # Row numbers count from 1 and the header is the first.
            text = row.text.encode("latin-1").decode("utf-8", "replace")
            lines = f" over {text.count(chr(10)) + 1:,} lines" if "\n" in text else ""
            reason = f"row has {row.actual_columns} cells{lines}, the header {row.expected_columns}: {text[:80]}"
            skipped[row.number - 2] = plain(reason)
            return "skip"

        try:
            return csv.open_csv(
                handle,
                read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, encoding="latin-1"),
                parse_options=csv.ParseOptions(
                    delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=skip
                ),
                convert_options=csv.ConvertOptions(
                    check_utf8=False,
                    column_types=types,
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        except Exception as error:
            raise CatalogueError(f"{self._file.path}: not readable as CSV ({cause(error)})") from error


class _Watched:
    """A file without its byte-order mark, whose last bytes are remembered.

    Args:
        handle: a binary file, at its beginning.
    """

    closed = False

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._ahead = handle.read(len(_BYTE_ORDER_MARK))
        if self._ahead == _BYTE_ORDER_MARK:
            self._ahead = b""
        self.tail = b""

    def read(self, size: int = -1) -> bytes:
        ahead, self._ahead = self._ahead, b""
        data: bytes = ahead + self._handle.read(size - len(ahead) if size >= len(ahead) else size)
        self.tail = (self.tail + data[-64:])[-64:]
        return data

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """The file is closed by whoever opened it."""


def _and_whether_last(tables: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, bool]]:
    held = next(tables, None)
    while held is not None:
        following = next(tables, None)
        yield held, following is None
        held = following


def _swallowed(table: pa.RecordBatch, watched: _Watched) -> int:
    """Lines that the last cell of a file has run on for, since its quote is never closed; 0 where it is."""
    if not table.num_rows or watched.tail.rstrip(b"\r\n").endswith(b'"'):
        return 0
    cell = table.column(table.num_columns - 1)[-1].as_py() or ""
    return cell.count("\n") + (not cell.endswith("\n")) if "\n" in cell else 0


def _own_bytes(column: pa.Array) -> pa.Array:
    """Cells that were read as Latin-1, as the bytes that they were; those need not be UTF-8."""
    column = plain_array(column)
    if pc.all(pc.string_is_ascii(column)).as_py() is not False:
        return column
    values = [None if value is None else value.encode("latin-1") for value in column.to_pylist()]
    return pa.array(values, pa.binary()).view(pa.string())


def _positions(
    count: int, position: int, skipped: dict[int, str]
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], dict[int, str], int]:
    """Positions of `count` good rows from `position` on, stepping over the skipped ones (which are taken out)."""
    rows = np.empty(count, dtype=np.int64)
    broken: dict[int, str] = {}
    for index in range(count):
        while position in skipped:
            broken[position] = skipped.pop(position)
            position += 1
        rows[index] = position
        position += 1
    return rows, broken, position
