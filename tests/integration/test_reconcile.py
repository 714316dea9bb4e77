"""Log against Milvus: every kind of difference is found, and a repair ends it, on Milvus Lite and on the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from connector import Connector
from connector.cli.app import run
from connector.errors import UnknownSpaceError
from connector.spaces import log_folder
from connector.stores import OfflineLog, VectorStore
from connector.testing.milvus_server import MilvusServer
from tests.ready_shop import ROWS, goods, write_repository

SPACE = "item_shape__v1"
DAY = timedelta(days=1)


@pytest.fixture(scope="module", params=["lite", pytest.param("server", marks=pytest.mark.milvus_server)])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connector]:
    """Every test leaves log and Milvus in agreement."""
    folder = tmp_path_factory.mktemp("reconcile")
    uri = "data/milvus.db"
    if request.param == "server":
        server: MilvusServer = request.getfixturevalue("milvus_server")
        uri = f"{server.uri}\n  collection_prefix: {folder.name}_"
    with Connector(write_repository(folder / "shop", uri=uri)) as connector:
        connector.apply()
        connector.ingest(goods(), entity="item")
        yield connector
        store = connector._repository.vector_store
        for name in store.list_collections() if request.param == "server" else ():
            store.drop(name)


def store_of(shop: Connector) -> VectorStore:
    return shop._repository.vector_store


def log_of(shop: Connector, view: str) -> OfflineLog:
    return OfflineLog(shop.path / log_folder(shop._repository.snapshot().views[view]))


def rows_of(shop: Connector, collection: str, *keys: str) -> pa.Table:
    store = store_of(shop)
    spec = store.describe(collection)
    assert spec is not None
    names = [*(f.name for f in spec.fields), *([spec.vector.name] if spec.vector else []), "created_timestamp"]
    asked = pa.table({"item_id": list(keys)})
    return store.read(collection, asked, names).append_column("item_id", asked.column(0))


def differences(report: Any) -> dict[str, int]:
    (version,) = report.versions
    kinds = ("missing", "stale", "changed", "orphans", "ahead", "unusable")
    return {kind: count for kind in kinds if (count := getattr(version, kind))}


def everything(shop: Connector, collection: str) -> list[dict[str, Any]]:
    spec = store_of(shop).describe(collection)
    assert spec is not None
    names = ["item_id", *(f.name for f in spec.fields), "event_timestamp", "created_timestamp"]
    names += [spec.vector.name] if spec.vector else []
    rows = [row for batch in store_of(shop).scan(collection, names) for row in batch.to_pylist()]
    return sorted(rows, key=lambda row: row["item_id"])


def replaced(rows: pa.Table, **columns: pa.Array) -> pa.Table:
    for name, column in columns.items():
        rows = rows.set_column(rows.column_names.index(name), name, column)
    return rows


def test_every_kind_of_difference_is_found_and_repaired(shop: Connector) -> None:
    for view in ("item_shape", "item_sound", "item_content", "user_taste"):
        report = shop.reconcile(view)
        assert (report.agrees, differences(report), report.notes) == (True, {}, [])
    (version,) = shop.reconcile("item_shape").versions
    assert (version.keys, version.stored, version.state) == (ROWS, ROWS, "serving")
    before, store = everything(shop, SPACE), store_of(shop)

    store.delete(SPACE, pa.table({"item_id": ["i01", "i02", "i03"]}))
    rows = rows_of(shop, SPACE, "i10", "i11", "i12", "i13")
    store.delete(SPACE, pa.table({"item_id": ["i10", "i11"]}))
    times = rows.column("event_timestamp").to_pylist()
    store.write(SPACE, replaced(rows.slice(0, 2), event_timestamp=pa.array([t - 9 * DAY for t in times[:2]])))
    vectors = pa.array([[0.5] * 8], pa.list_(pa.float32()))
    store.write(SPACE, replaced(rows.slice(2, 1), item_shape_embedding=vectors))
    store.write(SPACE, replaced(rows.slice(3, 1), price=pa.array([None], pa.float64())))
    store.write(SPACE, replaced(rows.slice(0, 2), item_id=pa.array(["ghost", 'gh"ost'])))
    store.write(SPACE, replaced(rows_of(shop, SPACE, "i20"), event_timestamp=pa.array([times[0] + 9 * DAY])))

    found = {"missing": 3, "stale": 2, "changed": 2, "orphans": 2, "ahead": 1}
    report = shop.reconcile("item_shape")
    assert (differences(report), report.agrees, report.repaired) == (found, False, False)
    assert report.versions[0].examples == {
        "missing": ["i01", "i02", "i03"],
        "stale": ["i10", "i11"],
        "changed": ["i12", "i13"],
        "orphan": ['gh"ost', "ghost"],
        "ahead": ["i20"],
    }
    repaired = shop.reconcile("item_shape", repair=True)
    assert differences(repaired) == found
    assert (repaired.versions[0].written, repaired.versions[0].removed) == (7, 2)
    assert not repaired.agrees  # a newer row is not overwritten
    assert differences(shop.reconcile("item_shape")) == {"ahead": 1}
    store.delete(SPACE, pa.table({"item_id": ["i20"]}))
    assert shop.reconcile("item_shape", repair=True).agrees
    assert shop.reconcile("item_shape").agrees
    assert everything(shop, SPACE) == before


def test_a_lost_collection_and_a_plain_view_are_filled_again(shop: Connector) -> None:
    before = everything(shop, "item_content")
    for name in (SPACE, "item_content__v1"):
        store_of(shop).drop(name)
    shop.apply()
    assert shop.count("item_shape") == 0
    for view in ("item_shape", "item_content"):
        report = shop.reconcile(view, repair=True)
        assert (report.versions[0].missing, report.versions[0].written, report.agrees) == (ROWS, ROWS, True)
        assert shop.reconcile(view).agrees
    assert everything(shop, "item_content") == before
    assert shop.search("item_shape", item_id="i03", k=3).num_rows == 3


def test_of_several_events_the_newest_counts(shop: Connector) -> None:
    before = shop.reconcile("item_shape").versions[0].rows
    later = datetime.now(timezone.utc) + DAY
    again = goods().slice(0, 10).append_column("event_timestamp", pa.array([later] * 10))
    shop.ingest(again, entity="item")
    older = goods().slice(5, 10).append_column("event_timestamp", pa.array([later - 2 * DAY] * 10))
    shop.ingest(older, entity="item")
    report = shop.reconcile("item_shape")
    assert (report.agrees, report.versions[0].keys) == (True, ROWS)
    assert report.versions[0].rows == before + 20
    assert log_of(shop, "item_shape").compact()[1] == 1
    assert shop.reconcile("item_shape").agrees


def test_the_command(shop: Connector, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reconcile", "item_shape", "--repo", str(shop.path), "--json"]
    assert run(command, own_process=False) == 0
    assert json.loads(capsys.readouterr().out)["agrees"]
    store_of(shop).delete(SPACE, pa.table({"item_id": ["i01"]}))
    assert run(command[:-1], own_process=False) == 1
    shown = capsys.readouterr()
    assert "i01" in shown.err
    assert "--repair" in shown.err
    assert run([*command, "--repair"], own_process=False) == 0
    assert json.loads(capsys.readouterr().out)["versions"][0]["written"] == 1
    assert run(["reconcile", "item_shap", "--repo", str(shop.path)], own_process=False) == 2
    with pytest.raises(UnknownSpaceError, match="item_shape"):
        shop.reconcile("item_shap")


def test_many_rows_differ(shop: Connector, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a chunk and a batch hold."""
    monkeypatch.setattr("connector.upkeep.ledger.CHUNK", 7)
    monkeypatch.setattr("connector.upkeep.comparison.BATCH_ROWS", 5)
    monkeypatch.setattr("connector.upkeep.repair.WRITE_ROWS", 11)
    random = np.random.default_rng(3)
    gone = [f"i{n:02d}" for n in random.permutation(ROWS)[:40]]
    store_of(shop).delete(SPACE, pa.table({"item_id": gone}))
    rows = rows_of(shop, SPACE, *([f"i{n:02d}" for n in range(ROWS) if f"i{n:02d}" not in gone]))
    names = pa.array([f"ghost{n}" for n in range(rows.num_rows)])
    store_of(shop).write(SPACE, replaced(rows, item_id=names))
    report = shop.reconcile("item_shape", repair=True)
    assert differences(report) == {"missing": 40, "orphans": ROWS - 40}
    assert (report.versions[0].written, report.versions[0].removed) == (40, ROWS - 40)
    assert shop.reconcile("item_shape").agrees
