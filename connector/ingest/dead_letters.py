"""The dead-letter table: every row that an ingest left out, with the reason."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connector.errors import CatalogueError, ConfigurationError
from connector.ingest.batch import MAX_KEY_SHOWN, plain
from connector.stores.durable import DurableFolder

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
BUFFERED = 4096
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


class Segments(Protocol):
    """Where letters are kept until the table is whole; `RunFolder` is one."""

    def write_letters(self, segment: int, table: pa.Table) -> None:
        """Keep one segment, replacing an earlier one of that number."""

    def read_letters(self, segments: int) -> Iterator[pa.Table]:
        """The first so many segments."""


class KeptSegments(Segments, Protocol):
    """Letters of a run that is unfinished."""

    def segments(self) -> int:
        """How many segments there are."""


class DeadLetterWriter:
    """Writes `<folder>/<run_id>.parquet`, which appears whole at `publish` or not at all.

    Until then letters are kept in segments, one for each `commit`, so that they outlive the process with the rest of
    what its run has done.

    Raises:
        ConfigurationError: a run id that is no plain file name.
    """

    def __init__(self, folder: Path, run_id: str, segments: Segments) -> None:
        require_run_id(run_id)
        self._run_id = run_id
        self._file = folder / f"{run_id}.parquet"
        self._segments = segments
        self._buffer: list[DeadLetter] = []
        self.committed = 0
        self.counts: dict[str, int] = {}

    @property
    def path(self) -> Path:
        """Where the table is once it is published."""
        return self._file

    @property
    def total(self) -> int:
        """Letters taken, those of earlier processes included."""
        return sum(self.counts.values())

    @property
    def many(self) -> bool:
        """Whether so many wait that they should be committed."""
        return len(self._buffer) >= BUFFERED

    def resume(self, segments: int, counts: Mapping[str, int]) -> None:
        """Go on after so many segments, with so many letters of each kind in them."""
        self.committed, self.counts = segments, dict(counts)

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """Take letters; they are kept from the next `commit` on."""
        for letter in letters:
            self._buffer.append(letter)
            self.counts[letter.kind] = self.counts.get(letter.kind, 0) + 1

    def commit(self) -> None:
        """Keep what was added since the last time."""
        if not self._buffer:
            return
        values = zip(*((self._run_id, *astuple(letter)) for letter in self._buffer), strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(values, SCHEMA, strict=True)]
        self._segments.write_letters(self.committed, pa.Table.from_arrays(arrays, schema=SCHEMA))
        self.committed += 1
        self._buffer.clear()

    def publish(self) -> Path | None:
        """Put all segments in one table → its path, or None (and no file) where no row was left out.

        Raises:
            StoreError: it cannot be written.
        """
        if not self.committed:
            return None
        DurableFolder(self._file.parent).write(self._file.name, self._merge)
        return self._file

    def _merge(self, file: BinaryIO) -> None:
        with pq.ParquetWriter(file, SCHEMA) as writer:
            for table in self._segments.read_letters(self.committed):
                writer.write_table(table)


def require_run_id(run_id: str) -> None:
    """Raise `ConfigurationError` where a run id is no plain file name."""
    if not _RUN_ID.fullmatch(run_id):
        raise ConfigurationError(f"run id {run_id!r}: use letters, digits, '.', '_' and '-', at most 100 of them")


def clean_dead_letters(folder: Path) -> int:
    """Remove what runs that died left behind → files removed. A live process keeps its own."""
    return DurableFolder(folder).clean()


def discard_letters(
    folder: Path,
    unfinished: Iterable[KeptSegments],
    keys: Sequence[str],
    others: Collection[str],
    *,
    dry_run: bool = False,
) -> int:
    """Remove the letters of these keys → how many. Safe to do again.

    Args:
        others: views of other entities, whose letters stay, those of their versions too.
        unfinished: runs whose letters are not yet in a table.
        keys: as text.
        dry_run: only count them.
    """
    asked = pa.array([plain(key, MAX_KEY_SHOWN) for key in keys], pa.string())
    strange = pa.array(sorted(others), pa.string())

    def without(table: pa.Table) -> pa.Table:
        views = pc.replace_substring_regex(table.column("space"), r"__v[1-9][0-9]*(_r[1-9][0-9]*)?$", "")
        gone = pc.and_(pc.is_in(table.column("key"), asked), pc.invert(pc.is_in(views, strange)))
        return table.filter(pc.invert(gone))

    removed = 0
    for file in sorted(folder.glob("*.parquet")):
        table = read_dead_letters(file)
        kept = without(table)
        if kept.num_rows < table.num_rows:
            removed += table.num_rows - kept.num_rows
            if dry_run:
                continue
            if kept.num_rows:
                DurableFolder(folder).write(file.name, lambda to, kept=kept: pq.write_table(kept, to))  # type: ignore[misc]
            else:
                DurableFolder(folder).remove(file.name)
    for run in unfinished:
        for segment, table in enumerate(run.read_letters(run.segments())):
            kept = without(table)
            if kept.num_rows < table.num_rows:
                removed += table.num_rows - kept.num_rows
                if not dry_run:
                    run.write_letters(segment, kept)
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
