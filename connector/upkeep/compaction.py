"""Small parts of logs merged, without touching what a run may still replace."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from connector.errors import CatalogueError
from connector.ingest.run_folder import unfinished_runs
from connector.upkeep.holdings import holdings
from connector.upkeep.reports import Compaction
from connector.upkeep.running import logs_beside

if TYPE_CHECKING:
    from connector.repository import Repository


def compact(repository: Repository, name: str) -> list[Compaction]:
    """Merge the small parts of every log of a space or content view → what became of each.

    Raises:
        UnknownSpaceError: neither a space nor a content view.
        StoreError: a log cannot be read or written, or another process is rewriting it.
    """
    beside = logs_beside(repository, name)

    def unfinished() -> list[str]:
        runs = []
        for log in beside:
            for run in unfinished_runs(log):
                with suppress(CatalogueError):  # nobody can carry it on
                    state = run.load()
                    runs += [] if state is None else [state.run_id]
        return runs

    done = []
    for holding in holdings(repository, name):
        merged, made = holding.log.compact(unfinished)
        done.append(Compaction(holding.name, holding.version, holding.log.folder, merged, made))
    return done
