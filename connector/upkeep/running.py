"""Ingests that are under way or were cut short, of the views of an entity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from connector.errors import CatalogueError, StoreError
from connector.ingest.run_folder import RunFolder, unfinished_runs
from connector.stores.log_locks import Held

if TYPE_CHECKING:
    from connector.repository import Repository


def logs_beside(repository: Repository, name: str) -> list[str]:
    """Logs of every view that shares an entity with this one: an ingest that fills them keeps its record in one."""
    views = repository.snapshot().views
    own = set(views[name].entities) if name in views else set()
    return [repository.offline_log(view).folder for view in views.values() if own & set(view.entities)]


def run_notes(repository: Repository, name: str) -> list[str]:
    """A line for each ingest that is under way or unfinished."""
    notes = []
    for log in logs_beside(repository, name):
        for run in unfinished_runs(log):
            notes.append(_note(run))
    return notes


@contextmanager
def hold_runs(logs: Sequence[str]) -> Iterator[list[RunFolder]]:
    """Hold every unfinished run of these logs, so that none of them is carried on meanwhile.

    Raises:
        StoreError: one is under way.
    """
    with ExitStack() as stack:
        held = []
        for log in dict.fromkeys(logs):
            for run in unfinished_runs(log):
                try:
                    stack.enter_context(run.held(wait_s=2.0))
                except Held as error:
                    raise StoreError(f"{_note(run)}; try again when it is done, or stop it") from error
                held.append(run)
        yield held


def _note(run: RunFolder) -> str:
    try:
        state = run.load()
    except CatalogueError as error:
        return str(error)
    if state is None:
        return (
            "an ingest has just begun"
            if run.is_held()
            else f"an ingest died before it wrote anything ({run.files.root}); the next one clears its record"
        )
    what = f"ingest {state.run_id} of {state.source}"
    if run.is_held():
        return f"{what} is under way; what it is writing may count as missing"
    return f"{what} is unfinished after {state.rows:,} rows; give the same command again"
