"""No room while log, record or dead letters are written: one line that says so, and the next run goes on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector import Connector
from connector.config import IngestSettings
from connector.errors import StoreError
from connector.ingest import read_dead_letters
from connector.ingest.run_folder import unfinished_runs
from connector.stores import OfflineLog
from connector.testing.faults import seeded_points
from connector.testing.milvus_server import MilvusServer
from tests.faults.ingest_shop import check_whole, make_shop
from tests.torture import POINTS
from tests.unit.ingest.kit import Bench, make_content, make_space

ROWS = 120


class Disk:
    """`os.fsync`, which is called before each file is renamed into its place; full at a given call and from then on."""

    def __init__(self, full_at: int = 0) -> None:
        self._sync: Callable[[int], None] = os.fsync
        self._full_at = full_at
        self.count = 0

    def __call__(self, handle: int) -> None:
        self.count += 1
        if self._full_at and self.count >= self._full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._sync(handle)


def bench(folder: Path) -> Bench:
    made = Bench(folder, make_space(), make_content({"title": "String", "stock": "Int64"}))
    for at, target in enumerate(made.targets):
        made.targets[at] = type(target)(**{**vars(target), "log": OfflineLog(folder / "logs" / target.name)})
    return made


def state(made: Bench) -> dict[str, Any]:
    logged = {t.name: [row for b in OfflineLog(t.log.folder).read() for row in b.to_pylist()] for t in made.targets}
    rows = {**logged, **{name: list(rows.values()) for name, rows in made.store.rows.items()}}
    return {name: sorted((r["item_id"], r.get("title"), r.get("stock")) for r in found) for name, found in rows.items()}


def test_full_at_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.ingest.writer.PART_ROWS", 30)
    stock = ["many" if n % 9 == 1 else str(n) for n in range(ROWS)]
    table = pa.table(
        {"item_id": [f"i{n}" for n in range(ROWS)], "title": [f"t{n}" for n in range(ROWS)], "stock": stock}
    )
    pq.write_table(table, tmp_path / "items.parquet")
    settings = IngestSettings(batch_rows=10)
    whole, disk = bench(tmp_path / "whole"), Disk()
    with monkeypatch.context() as patch:
        patch.setattr("connector.stores.durable.os.fsync", disk)
        expected = whole.ingest(tmp_path / "items.parquet", settings=settings)
    for point in seeded_points(disk.count, 4 * POINTS, seed=4):
        made = bench(tmp_path / f"full{point}")
        with monkeypatch.context() as patch:
            patch.setattr("connector.stores.durable.os.fsync", Disk(point))
            with pytest.raises(StoreError, match="No space left"):
                made.ingest(tmp_path / "items.parquet", settings=settings)
        assert [path.name for path in tmp_path.rglob("*.tmp")] == []
        report = made.ingest(tmp_path / "items.parquet", settings=settings)
        assert state(made) == state(whole), f"write {point} of {disk.count}"
        assert (report.rows, report.views) == (expected.rows, expected.views)
        assert read_dead_letters(str(report.dead_letter_path)).num_rows == expected.dead_letters
        assert [run for t in made.targets for run in unfinished_runs(t.log.folder)] == []


@pytest.mark.milvus_server
@pytest.mark.timeout(900)
def test_a_real_limit_on_files(tmp_path: Path, milvus_server: MilvusServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_MILVUS", milvus_server.uri)
    shop = make_shop(tmp_path, milvus_server)
    path = shop.catalogue("full")
    with shop.child("ingest", str(path), limit=3000) as child:
        assert child.wait(300) == 1
        assert "StoreError" in child.output
        assert "make room, then run it again" in child.output
    with Connector(shop.folder) as opened:
        check_whole(shop, opened, opened.ingest(path, entity="item"), "full")
