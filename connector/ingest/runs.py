"""A run from its first start to its end, over as many processes as that takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from connector.errors import CatalogueError
from connector.ingest.dead_letters import DeadLetterWriter
from connector.ingest.preflight import Plan
from connector.ingest.report import IngestReport
from connector.ingest.run_folder import RunFolder, clean_runs
from connector.ingest.run_state import COUNTS, RunState
from connector.stores.log_locks import Held

GLANCE_S = 2.0
"""How long somebody may hold a run who only looks whether it is still alive."""


@dataclass
class Run:
    """A run that this process holds.

    Attributes:
        state: as it was found, or of a new run; the writer moves it on.
        letters: continue where the state says.
        resumed: catalogue rows done before.
        deleted: hashes of keys deleted since the run's first start.
        touched: whether it has, or may have, written to a log.
    """

    folder: RunFolder
    state: RunState
    letters: DeadLetterWriter
    resumed: int
    deleted: frozenset[str]
    touched: bool

    def commit(self) -> None:
        """Make the state outlive the process, where another one may carry it on."""
        if self.state.resumable:
            self.folder.save(self.state)

    def finish(self) -> Path | None:
        """Publish the dead letters and forget the run → the dead-letter table, if there is one."""
        path = self.letters.path if self.state.published and self.letters.committed else None
        if not self.state.published:
            path = self.letters.publish()
            self.state.published = True
            self.commit()
        self.folder.clear()
        return path

    def fill(self, report: IngestReport) -> None:
        """Put what the state counts into a report."""
        for name, counts in self.state.views.items():
            for count in COUNTS:
                setattr(report.views[name], count, counts[count])
        report.rows = self.state.rows
        report.dead_letters, report.reasons = self.letters.total, dict(self.letters.counts)


@contextmanager
def open_run(
    plans: Sequence[Plan],
    *,
    identity: str | None,
    run_id: str,
    now: datetime,
    source: str,
    dead_letter_dir: Path,
    restart: bool = False,
) -> Iterator[Run]:
    """Hold the run of that identity: carried on where its record says, or begun now.

    Args:
        identity: None where it cannot be carried on.
        run_id: of a new run; `now`: its start.
        restart: forget what an earlier start has done.

    Raises:
        CatalogueError: another process has the run, or its record cannot be read.
        StoreError: the record cannot be written.
    """
    home = plans[0].target.log.folder or str(dead_letter_dir)
    clean_runs(home)
    folder = RunFolder(home, identity or f"run-{run_id}".replace(".", "_"))
    with ExitStack() as stack:
        try:
            stack.enter_context(folder.held(wait_s=GLANCE_S))
        except Held as error:
            raise CatalogueError(
                f"{source}: another process is ingesting it into the same views; wait until it is done, or stop it"
            ) from error
        if restart:
            folder.clear()
        found = folder.load()
        state = found or RunState(folder.identity, run_id, now, source, resumable=identity is not None)
        for plan in plans:
            state.views.setdefault(plan.target.name, dict.fromkeys(COUNTS, 0))
        letters = DeadLetterWriter(dead_letter_dir, state.run_id, folder)
        letters.resume(state.segments, state.letters)
        deleted = folder.deleted() if found is not None else frozenset()
        folder.save(state)
        run = Run(folder, state, letters, state.rows, deleted, touched=found is not None)
        done = False
        try:
            yield run
            done = True
        finally:
            if not done and not (state.resumable and run.touched):
                folder.clear()
