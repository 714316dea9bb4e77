"""Rows that tell of themselves whether they were lost, doubled, or written over by an older one.

`python -m tests.faults.store_kit URI COLLECTION ROUND FIRST STEP` writes every STEP-th table from FIRST on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa

from connector.stores import MilvusEndpoint, MilvusVectorStore
from connector.testing.rows import DIMENSION, NOON, shop_rows

TABLES = 5
KEYS = 60
ROWS = 40


def tables(turn: int = 0) -> list[pa.Table]:
    """Tables of the same keys; each row has an event time that no other has, as its title and in its vector.

    Each turn has keys of its own, and newer rows than the turn before, so that turns can share a collection.
    """
    random = np.random.default_rng(turn)
    events = random.permutation(TABLES * ROWS) + turn * TABLES * ROWS
    made = []
    for number in range(TABLES):
        own = events[number * ROWS : (number + 1) * ROWS].tolist()
        vectors = np.full((ROWS, DIMENSION), 1.0, np.float32)
        vectors[:, 0] = own
        keys = [f"{turn} k{key}" for key in random.integers(0, KEYS, ROWS)]
        made.append(
            shop_rows(
                keys,
                event=[NOON + timedelta(seconds=event) for event in own],
                created=[NOON - timedelta(seconds=event) for event in own],
                title=[str(event) for event in own],
                vectors=vectors,
            )
        )
    return made


def write(store: MilvusVectorStore, name: str, some: Sequence[pa.Table]) -> None:
    for table in some:
        result = store.write(name, table)
        assert result.written + result.stale == table.num_rows


def check(store: MilvusVectorStore, name: str, some: Sequence[pa.Table]) -> None:
    """Every key of these tables once, as its newest row says."""
    newest: dict[str, int] = {}
    for table in some:
        for key, title in zip(table["item_id"].to_pylist(), table["title"].to_pylist(), strict=True):
            newest[key] = max(newest.get(key, -1), int(title))
    whole = pa.Table.from_batches(store.scan(name, ["item_id", "title", "embedding"]))
    assert store.count(name) == whole.num_rows == len(set(whole["item_id"].to_pylist()))
    turns = {key.split(" ")[0] for key in newest}
    found = whole.filter(pa.array([key.split(" ")[0] in turns for key in whole["item_id"].to_pylist()]))
    assert sorted(found["item_id"].to_pylist()) == sorted(newest)
    assert dict(zip(found["item_id"].to_pylist(), map(int, found["title"].to_pylist()), strict=True)) == newest
    assert [vector[0] for vector in found["embedding"].to_pylist()] == [float(t) for t in found["title"].to_pylist()]
    ask = sorted(newest)  # what other processes wrote is seen by now: a scan waits for it, and later reads are no older
    read = store.read(name, pa.table({"item_id": ask}), ["title"])["title"].to_pylist()
    assert read == [str(newest[key]) for key in ask]


def main(uri: str, name: str, turn: str, first: str, step: str) -> None:
    with MilvusVectorStore(MilvusEndpoint(uri, timeout_s=20, patience_s=60)) as store:
        write(store, name, tables(int(turn))[int(first) :: int(step)])


if __name__ == "__main__":
    main(*sys.argv[1:])
