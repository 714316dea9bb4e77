"""The offline log against Milvus, version by version; the log is right.

The store is read before the log. Every writer appends to the log first, so a row that the store had is in the log that
is read after it, unless it is an orphan. What is on its way meanwhile may look as if it were missing; so whatever
differs is looked at a second time before it is reported.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from connector.errors import StoreError
from connector.stores.base import VectorStore
from connector.stores.feast_values import store_rows
from connector.stores.keys import decode_keys
from connector.stores.log_locks import maintaining
from connector.upkeep.facts import compared_columns, facts
from connector.upkeep.holdings import Holding, holdings
from connector.upkeep.ledger import Ledger
from connector.upkeep.repair import remove_orphans, write_back
from connector.upkeep.reports import ReconcileReport, VersionDifferences
from connector.upkeep.running import run_notes

if TYPE_CHECKING:
    from connector.repository import Repository

EXAMPLES = 5
BATCH_ROWS = 2048


def reconcile(repository: Repository, name: str, *, repair: bool = False) -> ReconcileReport:
    """Compare every serving and candidate version of a space, or a content view, with its log.

    Streams; memory does not grow with the number of rows, disk for temporary files does (about 100 bytes a row).

    Args:
        repair: write what is missing, stale or changed from the log, and delete orphans. Rows of Milvus that are newer
            than the log stay: newest wins.

    Raises:
        UnknownSpaceError: neither a space nor a content view.
        StoreError: a log that cannot be read, or no room for temporary files.
        StoreUnavailableError: Milvus does not answer.
    """
    began = time.perf_counter()
    report = ReconcileReport(name, repaired=repair, notes=run_notes(repository, name))
    for holding in holdings(repository, name):
        if holding.state != "previous":
            report.versions.append(compare(holding, repository.vector_store, repair=repair))
    report.seconds = round(time.perf_counter() - began, 3)
    return report


def compare(holding: Holding, store: VectorStore, *, repair: bool = False) -> VersionDifferences:
    """One version with its log; as `reconcile`."""
    found = VersionDifferences(holding.name, holding.version, holding.state, holding.spec.name, holding.log.folder)
    with Ledger() as ledger:
        columns = compared_columns(holding.spec)
        for batch in store.scan(holding.spec.name, columns, batch_rows=BATCH_ROWS):
            ledger.add_stored(facts(holding.spec, pa.Table.from_batches([batch]))[0])
        parts = LogParts(holding)
        found.unusable += _read_log(parts, ledger, holding)
        ledger.settle()
        found.rows, found.keys, found.stored = ledger.totals()
        if any(ledger.counts().values()):
            _look_again(holding, store, ledger)
            found.unusable += _read_log(parts, ledger, holding)
            ledger.settle(again=True)
        counts = ledger.counts()
        found.missing, found.stale, found.changed = counts["missing"], counts["stale"], counts["changed"]
        found.orphans, found.ahead = counts["orphan"], counts["ahead"]
        found.examples = {kind: ledger.examples(kind, EXAMPLES) for kind, count in counts.items() if count}
        if repair and found.repairable:
            if found.repairable > found.orphans:
                found.written = write_back(holding, store, ledger, LogParts(holding).batches())
            if found.orphans:
                found.removed = remove_orphans(holding, store, ledger, parts.batches)
    return found


def _read_log(parts: LogParts, ledger: Ledger, holding: Holding) -> int:
    unusable = 0
    for rows in parts.batches():
        known, positions = facts(holding.spec, rows)
        unusable += rows.num_rows - len(positions)
        ledger.add_logged(known)
    return unusable


def _look_again(holding: Holding, store: VectorStore, ledger: Ledger) -> None:
    spec, columns = holding.spec, compared_columns(holding.spec)
    for keys in ledger.differing():
        asked = pa.Table.from_arrays(decode_keys(spec, keys), names=[key.name for key in spec.keys])
        rows = store.read(spec.name, asked, columns)
        rows = rows.filter(rows.column("event_timestamp").is_valid())
        ledger.restate(keys, facts(spec, rows)[0])


class LogParts:
    """The parts of a log, each read once, in the form of the collection's rows."""

    def __init__(self, holding: Holding) -> None:
        self._holding = holding
        self._read: set[tuple[str, object, object]] = set()

    def batches(self) -> Iterator[pa.Table]:
        """Rows of the parts that are new since the last time, or replaced.

        Raises:
            StoreError: a part cannot be read.
        """
        log, spec, dtypes = self._holding.log, self._holding.spec, self._holding.dtypes
        with maintaining(log.files):
            for path in log.parts():
                try:
                    info = log.files.filesystem.info(path)
                    mark = (path, info.get("size"), info.get("ino", info.get("mtime")))
                    if mark in self._read:
                        continue
                    with log.open_part(path) as part:
                        for batch in part.iter_batches(batch_size=BATCH_ROWS):
                            yield store_rows(pa.Table.from_batches([batch]), spec, dtypes)
                    self._read.add(mark)
                except (StoreError, FileNotFoundError):
                    if path in log.parts():  # the empty part goes when the first real one comes
                        raise
