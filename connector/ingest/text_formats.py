"""Readers of CSV, TSV and JSON lines, where a bad row must not take its file with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from connector.errors import CatalogueError
from connector.ingest.arrays import plain_array, tolerant_array
from connector.ingest.batch import Batch, plain
from connector.ingest.files import CatalogueFile, cause
from connector.ingest.formats import Reader

# One row has to fit into a block, so this is also the longest row.
BLOCK_BYTES = 16 * 1024 * 1024
_UTF16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


class CsvReader(Reader):
    """CSV or TSV with a header line. Cells stay text; an unquoted empty cell is null.

    Bytes that are not UTF-8 are kept: the check of each row finds them, and only that row is lost.
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
            stream = self._stream(handle, {}, {})
            try:
                self.columns = tuple(stream.schema.names)
            except UnicodeError as error:
                raise CatalogueError(f"{file.path}: its header is not UTF-8; save it as UTF-8") from error

    def batches(self, columns: Sequence[str], batch_rows: int, first: int = 0) -> Iterator[Batch]:
        wanted = [name for name in columns if name in self.columns]
        skipped: dict[int, str] = {}
        position = 0
        with self._file.open() as handle:
            stream = self._stream(handle, dict.fromkeys(self.columns, pa.string()), skipped)
            while True:
                try:
                    table = stream.read_next_batch()
                except StopIteration:
                    break
                except Exception as error:
                    raise CatalogueError(
                        f"{self._file.path}: broken CSV after row {position} ({cause(error)}); mend the file"
                    ) from error
                for offset in range(0, table.num_rows, batch_rows):
                    part = table.slice(offset, batch_rows)
                    rows, broken, position = _positions(part.num_rows, position, skipped)
                    cells = {name: plain_array(part.column(name)) for name in wanted}
                    yield Batch(rows, cells, broken)
        if skipped:
            yield Batch(np.empty(0, dtype=np.int64), {n: pa.array([], pa.string()) for n in wanted}, dict(skipped))

    def _stream(self, handle: Any, types: dict[str, pa.DataType], skipped: dict[int, str]) -> csv.CSVStreamingReader:
        def skip(row: csv.InvalidRow) -> str:
            # Row numbers count from 1 and the header is the first.
            reason = f"row has {row.actual_columns} cells, the header {row.expected_columns}: {row.text[:80]}"
            skipped[row.number - 2] = plain(reason)
            return "skip"

        try:
            return csv.open_csv(
                handle,
                read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
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


class JsonLinesReader(Reader):
    """One JSON object a line. Columns are the names found in the first lines."""

    def __init__(self, file: CatalogueFile, sampled_lines: int = 1000) -> None:
        self._file = file
        names: dict[str, None] = {}
        for position, record in self._records():
            if isinstance(record, dict):
                names.update(dict.fromkeys(record))
            if position >= sampled_lines:
                break
        self.columns = tuple(names)

    def batches(self, columns: Sequence[str], batch_rows: int, first: int = 0) -> Iterator[Batch]:
        wanted = [name for name in columns if name in self.columns]
        rows: list[int] = []
        records: list[dict[str, Any]] = []
        broken: dict[int, str] = {}
        for position, record in self._records():
            if isinstance(record, dict):
                rows.append(position)
                records.append(record)
            else:
                broken[position] = record
            if len(rows) + len(broken) >= batch_rows:
                yield _record_batch(rows, records, broken, wanted)
                rows, records, broken = [], [], {}
        if rows or broken:
            yield _record_batch(rows, records, broken, wanted)

    def _records(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """Position and record, or the reason why there is none."""
        with self._file.open() as handle:
            position = 0
            while line := self._line(handle, position):
                if line.strip():
                    yield position, _parse(line)
                    position += 1

    def _line(self, handle: Any, position: int) -> bytes:
        try:
            line: bytes = handle.readline(BLOCK_BYTES)
        except Exception as error:
            raise CatalogueError(f"{self._file.path}: broken after row {position} ({cause(error)})") from error
        if len(line) == BLOCK_BYTES and not line.endswith(b"\n"):
            raise CatalogueError(f"{self._file.path}: row {position} is longer than {BLOCK_BYTES:,} bytes")
        return line


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


def _parse(line: bytes) -> dict[str, Any] | str:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return "line is not UTF-8"
    except (ValueError, RecursionError) as error:
        return plain(f"line is not JSON: {error}")
    return record if isinstance(record, dict) else f"line is a JSON {type(record).__name__}, not an object"


def _record_batch(
    rows: list[int], records: list[dict[str, Any]], broken: dict[int, str], columns: Sequence[str]
) -> Batch:
    cells = {name: tolerant_array([record.get(name) for record in records]) for name in columns}
    return Batch(np.array(rows, dtype=np.int64), cells, broken)
