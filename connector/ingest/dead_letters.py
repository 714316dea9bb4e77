"""The dead-letter table: every row that an ingest left out, with the reason."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from connector.errors import CatalogueError, ConfigurationError

SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("row", pa.int64()),
        ("key", pa.string()),
        ("space", pa.string()),
        ("column", pa.string()),
        ("kind", pa.string()),
        ("reason", pa.string()),
        ("event_timestamp", pa.timestamp("us", "UTC")),
    ]
)
_BUFFERED = 4096
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class DeadLetter:
    """One row that was left out of one view, or (without `space`) of all of them.

    Attributes:
        row: position in the catalogue, from 0.
        key: the key as text, shortened; None where there is none.
        space: the view it was left out of; None for the whole row.
        column: the column at fault; None where it is the row as a whole.
        kind: category; `reason`: one line for a person.
        event: the row's event time, where it could be read.
    """

    row: int
    key: str | None
    space: str | None
    column: str | None
    kind: str
    reason: str
    event: datetime | None


class DeadLetterWriter:
    """Writes `<folder>/<run_id>.parquet`, which appears whole at `finish` or not at all.

    Raises:
        ConfigurationError: a run id that is no plain file name.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        if not _RUN_ID.fullmatch(run_id):
            raise ConfigurationError(f"run id {run_id!r}: use letters, digits, '.', '_' and '-', at most 100 of them")
        self._run_id = run_id
        self._file = folder / f"{run_id}.parquet"
        self._temporary = folder / f".{run_id}.{os.getpid()}.tmp"
        self._buffer: list[DeadLetter] = []
        self._writer: pq.ParquetWriter | None = None
        self.counts: dict[str, int] = {}
        self.total = 0

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """Take letters; they reach the disk in groups."""
        for letter in letters:
            self._buffer.append(letter)
            self.total += 1
            self.counts[letter.kind] = self.counts.get(letter.kind, 0) + 1
        if len(self._buffer) >= _BUFFERED:
            self._spill()

    def finish(self) -> Path | None:
        """Publish the table → its path, or None (and no file) where no row was left out."""
        self._spill()
        if self._writer is None:
            return None
        self._writer.close()
        self._writer = None
        with self._temporary.open("rb") as file:
            os.fsync(file.fileno())
        self._temporary.replace(self._file)
        return self._file

    def abort(self) -> None:
        """Leave nothing behind; after `finish`, a no-op."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._temporary.unlink(missing_ok=True)

    def _spill(self) -> None:
        if not self._buffer:
            return
        if self._writer is None:
            self._temporary.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._temporary, SCHEMA)
        values = zip(*((self._run_id, *astuple(letter)) for letter in self._buffer), strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(values, SCHEMA, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))
        self._buffer.clear()


def clean_dead_letters(folder: Path) -> int:
    """Remove what runs that died left behind → files removed. A live process keeps its own."""
    removed = 0
    for file in folder.glob(".*.tmp"):
        owner = file.name.split(".")[-2]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            file.unlink(missing_ok=True)
            removed += 1
    return removed


def read_dead_letters(path: str | Path) -> pa.Table:
    """A dead-letter table.

    Returns:
        `run_id`, `row` (int64), `key`, `space`, `column`, `kind`, `reason` and `event_timestamp`
        (`timestamp[us, UTC]`); `space` is null where the row was left out of every view.

    Raises:
        CatalogueError: no such file, or not a dead-letter table.
    """
    try:
        table = pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise CatalogueError(f"{path}: no readable dead-letter table here ({type(error).__name__})") from error
    if table.schema.names != SCHEMA.names:
        raise CatalogueError(f"{path}: not a dead-letter table; its columns are {table.schema.names}")
    return table
