"""Rows of an entity deleted from one collection."""

from __future__ import annotations

import pyarrow as pa

from connector.stores.base import CollectionSpec, VectorStore
from connector.stores.filters.tree import Filter, Membership

KEYS_AT_ONCE = 500


def delete_rows(store: VectorStore, spec: CollectionSpec, key: str, asked: pa.Table, *, dry_run: bool = False) -> int:
    """Delete every row with one of the keys → how many there were.

    Args:
        key: name of the join key; it may be one of several of the collection.
        asked: one column of that name.
        dry_run: only count them.
    """
    kinds = {each.name: each.type for each in spec.keys}
    if key not in kinds:
        return 0
    removed = 0
    for start in range(0, asked.num_rows, KEYS_AT_ONCE):
        some = asked.slice(start, KEYS_AT_ONCE)
        if len(kinds) == 1:
            held = store.read(spec.name, some, []).column("event_timestamp")
            if not dry_run:
                store.delete(spec.name, some)
            removed += some.num_rows - held.null_count
            continue
        where = Filter(Membership(key, tuple(some.column(0).to_pylist())), {key: kinds[key]})
        for batch in list(store.scan(spec.name, list(kinds), where)):
            removed += batch.num_rows if dry_run else store.delete(spec.name, pa.Table.from_batches([batch]))
    return removed
