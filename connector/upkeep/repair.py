"""Differences ended: the log's rows written to the store, rows that the log does not have deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from connector.stores.base import VectorStore
from connector.stores.keys import decode_keys
from connector.upkeep.facts import facts
from connector.upkeep.holdings import Holding
from connector.upkeep.ledger import Kind, Ledger

WRITTEN: tuple[Kind, ...] = ("missing", "stale", "changed")
WRITE_ROWS = 4096
WRITE_BYTES = 16 * 1024 * 1024


def write_back(holding: Holding, store: VectorStore, ledger: Ledger, log: Iterable[pa.Table]) -> int:
    """Write the newest rows of the keys that are missing, stale or changed → rows written.

    The store keeps what is newer, so whoever writes meanwhile loses nothing.
    """
    written = 0
    for rows in _gathered(_chosen(holding, ledger, log, WRITTEN, newest=True)):
        written += store.write(holding.spec.name, rows).written
    return written


def remove_orphans(
    holding: Holding, store: VectorStore, ledger: Ledger, new_parts: Callable[[], Iterator[pa.Table]]
) -> int:
    """Delete rows whose key the log does not have → rows deleted.

    Args:
        new_parts: rows of parts that came after the log was read. A key may have come with them, and its row been
            deleted here; it is written again.
    """
    removed = 0
    names = [key.name for key in holding.spec.keys]
    for keys in ledger.differing(("orphan",)):
        removed += store.delete(holding.spec.name, pa.Table.from_arrays(decode_keys(holding.spec, keys), names=names))
    for rows in _gathered(_chosen(holding, ledger, new_parts(), ("orphan",), newest=False)):
        removed -= store.write(holding.spec.name, rows).written
    return removed


def _chosen(
    holding: Holding, ledger: Ledger, log: Iterable[pa.Table], kinds: tuple[Kind, ...], newest: bool
) -> Iterator[pa.Table]:
    for rows in log:
        known, positions = facts(holding.spec, rows)
        chosen = ledger.chosen(known, kinds, newest)
        if len(chosen):
            yield rows.take(positions.take(pa.array(chosen)))


def _gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Small tables put together, so that a repair is not a write for each batch."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(t.num_rows for t in waiting) >= WRITE_ROWS or sum(t.nbytes for t in waiting) >= WRITE_BYTES:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
