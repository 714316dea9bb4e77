"""The offline log: whole parts or none, the same part once, a schema that holds."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector.errors import SchemaMismatchError, StoreError
from connector.stores import OfflineLog
from connector.stores.offline_log import EMPTY_PART
from connector.testing.rows import NOON, TIME, shop_rows


def _rows(*keys: str) -> pa.Table:
    return shop_rows(list(keys), title=list(keys), created=NOON)


def _files(log: OfflineLog) -> list[str]:
    return sorted(file.name for file in Path(log.folder).iterdir())


@pytest.fixture
def log(tmp_path: Path) -> OfflineLog:
    return OfflineLog(tmp_path / "items")


def test_parts_are_appended_and_read_in_order(log: OfflineLog) -> None:
    assert log.count() == 0
    assert list(log.read()) == []
    log.append(_rows("c"), "part-2")
    path = log.append(_rows("a", "b"), "part-1")
    assert path.endswith("items/part-1.parquet")
    assert log.count() == 3
    table = pa.Table.from_batches(log.read(["item_id", "embedding"], batch_rows=2))
    assert table.column("item_id").to_pylist() == ["a", "b", "c"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32())


def test_the_same_part_again_changes_nothing(log: OfflineLog) -> None:
    for _ in range(2):
        log.append(_rows("a", "b"), "part-1")
    assert log.count() == 2
    assert _files(log) == ["part-1.parquet"]


def test_an_empty_part_stands_in_until_there_are_rows(log: OfflineLog) -> None:
    log.ensure(_rows().schema)
    assert log.count() == 0
    assert _files(log) == [f"{EMPTY_PART}.parquet"]
    log.append(_rows("a"), "part-1")
    assert _files(log) == ["part-1.parquet"]
    log.ensure(_rows().schema)
    assert _files(log) == ["part-1.parquet"]


def test_types_are_those_that_feast_reads(log: OfflineLog) -> None:
    table = pa.table(
        {
            "item_id": pa.array(["a"]).dictionary_encode(),
            "text": pa.array(["b"], pa.large_string()),
            "vectors": pa.array([[[1.0, 2.0]]], pa.list_(pa.list_(pa.float32(), 2))),
            "event_timestamp": pa.array([datetime(2026, 3, 1)], pa.timestamp("ns")),
        }
    )
    log.append(table, "p")
    found = pq.read_table(f"{log.folder}/p.parquet")
    assert found.schema.types == [pa.string(), pa.string(), pa.list_(pa.list_(pa.float32())), TIME, TIME]
    midnight = datetime(2026, 3, 1, tzinfo=timezone.utc)
    assert found.column("event_timestamp").to_pylist() == [midnight]
    assert found.column("created_timestamp").to_pylist() == [midnight]


def test_columns_may_come_in_any_order_and_narrower(log: OfflineLog) -> None:
    log.append(_rows("a"), "p1")
    rows = _rows("b")
    narrow = rows.set_column(rows.column_names.index("stock"), "stock", pa.array([5], pa.int32()))
    log.append(narrow.select(sorted(narrow.column_names)), "p2")
    assert pa.Table.from_batches(log.read()).column("stock").to_pylist() == [None, 5]


@pytest.mark.parametrize("change", ["missing", "extra", "type", "time"])
def test_another_shape_is_refused(log: OfflineLog, change: str) -> None:
    log.append(_rows("a"), "p1")
    rows = _rows("b")
    if change == "missing":
        rows = rows.drop_columns(["price"])
    elif change == "extra":
        rows = rows.append_column("colour", pa.array(["red"]))
    elif change == "type":
        rows = rows.set_column(rows.column_names.index("price"), "price", pa.array(["cheap"]))
    else:
        rows = rows.drop_columns(["event_timestamp"])
    with pytest.raises(SchemaMismatchError) as error:
        log.append(rows, "p2")
    assert "\n" not in str(error.value)
    assert log.count() == 1
    if change != "time":
        with pytest.raises(SchemaMismatchError):
            log.ensure(rows.schema)


@pytest.mark.parametrize("part", ["", "../up", "a/b", ".hidden", "a b", "a\n", "x" * 300])
def test_part_names_stay_in_the_folder(log: OfflineLog, part: str) -> None:
    with pytest.raises(StoreError, match="part name"):
        log.append(_rows("a"), part)


def test_a_killed_run_leaves_nothing_that_is_read(log: OfflineLog, tmp_path: Path) -> None:
    log.append(_rows("a"), "p1")
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = tmp_path / "items" / f".p2.parquet.{int(dead.stdout)}.tmp"
    left.write_bytes(b"half")
    mine = tmp_path / "items" / f".p3.parquet.{os.getpid()}.tmp"
    mine.write_bytes(b"being written")
    assert log.count() == 1
    assert log.clean() == 1
    assert not left.exists()
    assert mine.exists()


def test_a_part_that_is_no_parquet_is_named(log: OfflineLog, tmp_path: Path) -> None:
    log.append(_rows("a"), "p1")
    (tmp_path / "items" / "p0.parquet").write_bytes(b"not parquet")
    for call in (log.count, lambda: list(log.read()), lambda: OfflineLog(log.folder).append(_rows("b"), "p2")):
        with pytest.raises(StoreError, match=r"p0\.parquet"):
            call()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        OfflineLog(tmp_path / "file" / "items").append(_rows("a"), "p1")


def test_any_fsspec_url(tmp_path: Path) -> None:
    log = OfflineLog(f"memory://log-{uuid.uuid4().hex}/items")
    log.ensure(_rows().schema)
    log.append(_rows("a"), "p1")
    log.append(_rows("b"), "p1")
    log.append(_rows("c"), "p2")
    assert log.clean() == 0
    assert [key for batch in log.read() for key in batch.column("item_id").to_pylist()] == ["b", "c"]
    local = OfflineLog(f"file://{tmp_path}/items")
    local.append(_rows("a"), "p1")
    assert (tmp_path / "items" / "p1.parquet").exists()
