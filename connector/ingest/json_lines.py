"""Reader of JSON lines, where a bad row must not take its file with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from connector.errors import CatalogueError
from connector.ingest.arrays import tolerant_array
from connector.ingest.batch import Batch, plain
from connector.ingest.files import CatalogueFile, cause
from connector.ingest.formats import Reader

LONGEST_LINE_BYTES = 16 * 1024 * 1024
MOST_COLUMNS = 10_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JsonLinesReader(Reader):
    """One JSON object a line. Columns are the names found in any line, so the file is read once beforehand."""

    def __init__(self, file: CatalogueFile) -> None:
        self._file = file
        names: dict[str, None] = {}
        with suppress(CatalogueError):  # met again, and told, when its place is read
            for _, record in self._records():
                if isinstance(record, dict):
                    names.update(dict.fromkeys(record))
                if len(names) > MOST_COLUMNS:
                    break
        if len(names) > MOST_COLUMNS:
            raise CatalogueError(f"{file.path}: its objects have over {MOST_COLUMNS:,} different names; give columns")
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
            first = True
            while line := self._line(handle, position):
                if first:
                    line, first = line.removeprefix(_BYTE_ORDER_MARK), False
                if line.strip():
                    yield position, _parse(line)
                    position += 1

    def _line(self, handle: Any, position: int) -> bytes:
        try:
            line: bytes = handle.readline(LONGEST_LINE_BYTES)
        except Exception as error:
            raise CatalogueError(f"{self._file.path}: broken after row {position} ({cause(error)})") from error
        if len(line) == LONGEST_LINE_BYTES and not line.endswith(b"\n"):
            raise CatalogueError(f"{self._file.path}: row {position} is longer than {LONGEST_LINE_BYTES:,} bytes")
        return line


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
