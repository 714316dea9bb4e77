"""An entity deleted is gone from every place, and nothing but a new ingest brings it back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector import Connector
from connector.cli.app import run
from connector.errors import ConfigurationError, QueryError, StoreError, StoreUnavailableError, UnknownSpaceError
from connector.ingest.run_folder import unfinished_runs
from connector.stores import MilvusVectorStore
from tests.ready_shop import write_repository

ROWS = 30
FEATURES = """\
from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Int64, String

from connector import content_view, embedding_view
from encoders.contract import external_contract

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
item_shape = embedding_view(
    "item_shape", entity=item, vectors="shape{version}",
    contract=external_contract("shape", version={version}, dimension=4, modality="image"),
)
user_taste = embedding_view(
    "user_taste", entity=user, vectors="shape1",
    contract=external_contract("shape", version=1, dimension=4, modality="image"),
)
item_content = content_view("item_content", entity=item, fields=[Field(name="stock", dtype=Int64)])
clicks = FeatureView(
    name="clicks", entities=[user, item], ttl=timedelta(0), tags={{"tribe": "milvusonlinestore"}},
    schema=[Field(name="user_id", dtype=Int64), Field(name="item_id", dtype=String), Field(name="n", dtype=Int64)],
    source=FileSource(name="clicks", path="data/clicks.parquet", timestamp_field="event_timestamp"),
)
stats = FeatureView(
    name="stats", entities=[item], ttl=timedelta(0),
    schema=[Field(name="item_id", dtype=String), Field(name="n", dtype=Int64)],
    source=FileSource(name="stats", path="data/stats.parquet", timestamp_field="event_timestamp"),
)
"""
# Label of a version of the space → events of the key in its log.
VERSIONS = {"1": 2, "2": 2, "3": 1}
NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)


def rows(count: int = ROWS, stock: str = "3") -> pa.Table:
    random = np.random.default_rng(0)
    shapes = {f"shape{v}": pa.array(random.normal(size=(count, 4)).astype(np.float32).tolist()) for v in (1, 2, 3)}
    keys = [f"i{n:02d}" for n in range(count)]
    return pa.table({"item_id": keys, "stock": [stock if n == 3 else str(n) for n in range(count)], **shapes})


def declare(folder: Path, version: int) -> None:
    (folder / "features.py").write_text(FEATURES.format(version=version))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 (pruned, its log left), 2 (serving) and 3 (candidate) of a space, and views of every other sort."""
    folder = write_repository(tmp_path_factory.mktemp("delete") / "shop", features=FEATURES.format(version=1))
    file = folder / "feature_store.yaml"
    text = file.read_text()
    start = text.index("online_store:")
    end = text.index("entity_key")
    file.write_text(
        text[:start]
        + "online_store:\n  type: connector.stores.hybrid.HybridOnlineStore\n  online_stores:\n"
        + "    - {type: connector.stores.online.MilvusOnlineStore, conf: {uri: data/milvus.db}}\n"
        + "    - {type: sqlite, conf: {path: data/online.db}}\n"
        + text[end:]
    )
    (folder / "data").mkdir()
    times = pa.array([NOW] * 3, pa.timestamp("us", "UTC"))
    events = {"item_id": ["i03", "i03", "i04"], "n": [1, 2, 3], "event_timestamp": times}
    pq.write_table(pa.table({"user_id": [1, 2, 1], **events}), folder / "data" / "clicks.parquet")
    pq.write_table(pa.table({**events, "item_id": ["i03", "i05", "i04"]}), folder / "data" / "stats.parquet")
    with Connector(folder) as connector:
        for version in (1, 2, 3):
            declare(folder, version)
            connector.apply()
            if version < 3:
                connector.ingest(rows(), entity="item")
            if version == 2:
                connector.promote("item_shape", override=["overlap@10"])
                connector.prune("item_shape", keep=0)
        users = pa.array(range(ROWS))
        connector.ingest(rows().set_column(0, "user_id", users), entity="user")
        connector.ingest(rows(stock="many"), entity="item")
        connector._repository.feature_store.materialize(datetime(2026, 4, 1), datetime(2026, 6, 1), ["stats", "clicks"])
    return folder


@pytest.fixture
def shop(template: Path, tmp_path: Path) -> Iterator[Connector]:
    shutil.copytree(template, tmp_path / "shop")
    with Connector(tmp_path / "shop") as connector:
        yield connector


def found(shop: Connector) -> dict[str, Any]:
    """Where the key is: every file and collection of the shop, read without the code under test."""
    places: dict[str, Any] = {}
    store = shop._repository.vector_store
    for name in store.list_collections():
        spec = store.describe(name)
        assert spec is not None
        keys = [key.name for key in spec.keys]
        held = [row for batch in store.scan(name, keys) for row in batch.to_pylist() if row.get("item_id") == "i03"]
        if held:
            places[name] = len(held)
    for file in (shop.path / "data").rglob("*.parquet"):
        ours = "milvus.db" not in file.parts and file.name not in ("clicks.parquet", "stats.parquet")
        if ours and "i03" in str(pq.read_table(file).to_pylist()):
            places[str(file.relative_to(shop.path / "data").parent)] = 1
    values = shop._repository.feature_store.get_online_features(["stats:n"], [{"item_id": "i03"}]).to_dict()["n"]
    if values != [None]:
        places["stats"] = values
    return places


def test_nothing_is_left_anywhere(shop: Connector, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(found(shop)) == {
        *("item_shape__v1", "item_shape__v2", "item_shape__v3"),
        *("item_content", "item_content__v1", "dead_letters", "stats", "clicks__v1"),
    }
    assert run(["delete", "--entity", "item=i03", "--repo", str(shop.path), "--json"], own_process=False) == 0
    (receipt,) = json.loads(capsys.readouterr().out)
    assert found(shop) == {}
    removed = {(each["where"], each["view"], each["version"]): each["rows"] for each in receipt["removals"]}
    assert removed == {
        ("offline log", "item_content", ""): 2,
        ("offline log", "item_shape", "1"): 2,
        ("offline log", "item_shape", "2"): 2,
        ("offline log", "item_shape", "3"): 1,
        ("milvus", "clicks", ""): 2,
        ("milvus", "item_content", ""): 1,
        ("milvus", "item_shape", "2"): 1,
        ("milvus", "item_shape", "3"): 1,
        ("online store", "stats", ""): 1,
        ("dead letters", "", ""): 1,
    }
    assert [line.split("(")[0] for line in receipt["remains"]] == [
        "the source of feature view clicks ",
        "the source of feature view stats ",
    ]
    (kept,) = (shop.path / "data" / "deletions").iterdir()
    assert "i03" not in kept.read_text()
    assert shop.count("item_shape") == ROWS - 1
    assert shop.reconcile("item_shape", repair=True).versions[0].written == 0
    assert found(shop) == {}
    again = shop.delete("item", ["i03"])
    assert again.rows == 0
    shop.ingest(rows(), entity="item")
    assert found(shop)["item_shape__v2"] == 1


def test_logs_of_views_that_are_no_longer_declared_are_gone_through(shop: Connector) -> None:
    without = FEATURES
    for name, following in (("item_shape", "user_taste"), ("item_content", "clicks")):
        without = without[: without.index(f"{name} =")] + without[without.index(f"{following} =") :]
    (shop.path / "features.py").write_text(without.format(version=2))
    shop.apply()
    assert {"item_shape__v2", "item_content"} <= set(found(shop))  # their logs; the collections went
    counted = shop.delete("item", ["i03"], dry_run=True)
    receipt = shop.delete("item", ["i03"])
    # A plain view's log is a folder of any name: it is told of, not touched.
    assert set(found(shop)) == {"item_content"}
    (line,) = [line for line in receipt.remains if line.startswith(str(shop.path))]
    assert "item_content holds 2 rows of them; no view that is declared now writes there" in line
    assert [each.rows for each in receipt.removals] == [each.rows for each in counted.removals]
    logs = {(each.view, each.version): each.rows for each in receipt.removals if each.where == "offline log"}
    assert logs == {("item_shape", label): rows for label, rows in VERSIONS.items()}
    declare(shop.path, 2)
    shop.apply()
    assert shop.delete("item", ["i03"]).remains == counted.remains[:-1]
    shop.reconcile("item_shape", repair=True)
    assert shop.count("item_shape") == ROWS - 1
    assert found(shop) == {}


def test_a_dry_run_counts_what_a_deletion_removes_and_removes_nothing(
    shop: Connector, capsys: pytest.CaptureFixture[str]
) -> None:
    before = found(shop)
    command = ["delete", "--entity", "item=i03", "--repo", str(shop.path)]
    assert run([*command, "--dry-run", "--json"], own_process=False) == 0
    (counted,) = json.loads(capsys.readouterr().out)
    assert (counted["carried_out"], counted["path"]) == (False, None)
    assert found(shop) == before
    assert not (shop.path / "data" / "deletions").exists()
    assert run([*command, "--dry-run"], own_process=False) == 0
    assert "would be deleted" in (said := capsys.readouterr()).out
    assert "nothing was removed" in said.out + said.err
    receipt = shop.delete("item", ["i03"])
    assert receipt.carried_out
    assert [vars(each) for each in receipt.removals] == counted["removals"]
    assert receipt.rows == counted["rows"] > 0
    assert shop.delete("item", ["i03"], dry_run=True).rows == 0


def test_keys_that_make_no_sense(shop: Connector) -> None:
    with pytest.raises(UnknownSpaceError, match="item"):
        shop.delete("itm", ["i03"])
    with pytest.raises(QueryError, match="no key"):
        shop.delete("item", [])
    for bad in ("one", str(2**70), "1_000", " 3", "٣", 1.9, True):
        with pytest.raises(QueryError, match="no integer"):
            shop.delete("user", [bad])
    assert shop.delete("user", ["3", 4]).rows == 4
    assert shop.count("user_taste") == ROWS - 2
    assert run(["delete", "--entity", "item", "--repo", str(shop.path)], own_process=False) == 2


def test_a_view_that_was_cut_short_moving_does_not_bring_it_back(
    shop: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows have been carried to the next collection, and the alias has not been moved."""
    file = shop.path / "features.py"
    stock = 'Field(name="stock", dtype=Int64)]'
    file.write_text(file.read_text().replace(stock, stock[:-1] + ', Field(name="size", dtype=Int64)]'))
    with monkeypatch.context() as patch:
        patch.setattr(MilvusVectorStore, "set_alias", _die)
        with pytest.raises(ConfigurationError, match="killed"):
            shop.apply()
    assert {"item_content__v1", "item_content__v2"} <= set(found(shop))
    receipt = shop.delete("item", ["i03"])
    assert {"item_content__v1", "item_content__v2"} <= {each.place for each in receipt.removals if each.rows}
    assert found(shop) == {}
    shop.apply()
    assert found(shop) == {}
    assert shop._repository.vector_store.count("item_content") == ROWS - 1


def _die(*_: Any) -> None:
    raise RuntimeError("killed")


def test_a_run_that_is_carried_on_does_not_bring_it_back(shop: Connector, monkeypatch: pytest.MonkeyPatch) -> None:
    class Died(BaseException):
        pass

    path = shop.path / "catalogue.parquet"
    pq.write_table(rows(), path)
    with monkeypatch.context() as patch:
        patch.setattr(MilvusVectorStore, "write", lambda *_: (_ for _ in ()).throw(Died))
        with pytest.raises(Died):
            shop.ingest(path, entity="item")
    (unfinished,) = unfinished_runs(str(shop.path / "data" / "item_content"))
    with unfinished.held(), pytest.raises(StoreError, match="under way"):
        shop.delete("item", ["i03"])
    shop.delete("item", ["i03", "i07"])
    assert found(shop) == {}
    report = shop.ingest(path, entity="item")
    assert report.reasons == {"deleted": 2}
    assert found(shop) == {}
    assert shop.reconcile("item_shape").agrees
    assert shop.reconcile("item_content").agrees


def test_a_deletion_that_dies_is_completed_by_the_next(shop: Connector, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise StoreUnavailableError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(MilvusVectorStore, "delete", refuse)
        with pytest.raises(StoreUnavailableError):
            shop.delete("item", ["i03"])
    (serving, candidate) = shop.reconcile("item_shape").versions
    assert (serving.orphans, candidate.orphans) == (1, 1)
    shop.delete("item", ["i03"])
    assert found(shop) == {}
    assert shop.reconcile("item_shape").agrees
