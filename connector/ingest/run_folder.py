"""Where a run keeps its state: `<log>/.progress/<identity>/`, hidden from whoever lists the parts of the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from connector.errors import CatalogueError, StoreError
from connector.ingest.run_state import RunState, state_of_json
from connector.stores.durable import DurableFolder
from connector.stores.log_locks import Held, locked

PROGRESS = ".progress"
RECORD = "run.json"
DELETED = "deleted.json"


class RunFolder:
    """The record of one run, the dead letters it has set aside, and what was deleted while it stood still.

    Args:
        log: folder or URL of the log of the run's first view.
        identity: of the run.
    """

    def __init__(self, log: str, identity: str) -> None:
        self.identity = identity
        self._all = DurableFolder(f"{log.rstrip('/')}/{PROGRESS}")
        self.files = DurableFolder(f"{log.rstrip('/')}/{PROGRESS}/{identity}")

    @contextmanager
    def held(self, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the run: nobody else carries it on, nor deletes from under it.

        Raises:
            Held: another process has it, and still has after `wait_s` seconds.
        """
        try:
            with locked(self._all, f"{self.identity}.lock", wait_s=wait_s):
                yield
        finally:
            if self._all.local:
                with suppress(OSError):
                    Path(self._all.root).rmdir()

    def is_held(self) -> bool:
        """Whether a process has it now."""
        try:
            with self.held():
                return False
        except Held:
            return True

    def load(self) -> RunState | None:
        """State of the run, or None where it has none.

        Raises:
            CatalogueError: a record that cannot be read.
        """
        data = self.files.read(RECORD)
        return None if data is None else state_of_json(data, self.files.path(RECORD))

    def save(self, state: RunState) -> None:
        """Write the state, whole or not at all.

        Raises:
            StoreError: it cannot be written.
        """
        self.files.write(RECORD, lambda file: file.write(state.to_json()))

    def write_letters(self, segment: int, table: pa.Table) -> None:
        """Keep dead letters beside the record."""
        self.files.write(_segment(segment), lambda file: pq.write_table(table, file))

    def read_letters(self, segments: int) -> Iterator[pa.Table]:
        """Tables of the first `segments` segments.

        Raises:
            CatalogueError: one is not there, or broken.
        """
        for segment in range(segments):
            try:
                yield pq.read_table(pa.BufferReader(self.files.read(_segment(segment)) or b""))
            except pa.ArrowException as error:
                raise CatalogueError(
                    f"{self.files.path(_segment(segment))}: dead letters of an unfinished run cannot be read; "
                    "start afresh by --restart"
                ) from error

    def segments(self) -> int:
        """How many segments of dead letters the record counts."""
        state = self.load()
        return 0 if state is None else state.segments

    def deleted(self) -> frozenset[str]:
        """Hashes of keys (see `key_hash`) that were deleted while the run stood still."""
        data = self.files.read(DELETED)
        return frozenset() if data is None else frozenset(json.loads(data))

    def add_deleted(self, hashes: frozenset[str]) -> None:
        """Remember deleted keys, so that the run does not bring them back."""
        both = sorted(self.deleted() | hashes)

        def fill(file: BinaryIO) -> Any:
            return file.write(json.dumps(both).encode())

        self.files.write(DELETED, fill)

    def clear(self) -> None:
        """Forget the run."""
        self.files.remove(RECORD)  # first: without it the rest means nothing
        self.files.clear()


def unfinished_runs(log: str) -> Iterator[RunFolder]:
    """Runs whose first view has this log and that are under way or can be carried on."""
    files = DurableFolder(f"{log.rstrip('/')}/{PROGRESS}")
    for name in files.names():
        if "." not in name:
            yield RunFolder(log, name)


def clean_runs(log: str) -> int:
    """Remove what is left of runs that died and cannot be carried on → how many."""
    removed = 0
    for run in unfinished_runs(log):
        with suppress(Held, CatalogueError, StoreError), ExitStack() as stack:
            stack.enter_context(run.held())
            state = run.load()
            if state is None or not state.resumable:
                run.clear()
                removed += 1
    names = set(DurableFolder(f"{log.rstrip('/')}/{PROGRESS}").names())
    for name in names:
        run_name = name.removesuffix(".lock")
        if run_name != name and run_name not in names:
            # Of a run that died when all but its lock was gone: who takes it last removes it.
            with suppress(Held, StoreError), RunFolder(log, run_name).held():
                removed += 1
    return removed


def _segment(number: int) -> str:
    return f"letters-{number:06d}.parquet"
