"""Versions of a space: declared, filled beside the one that serves, promoted behind a gate, rolled back, pruned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from filelock import FileLock

from connector import Connector
from connector.cli.app import run
from connector.errors import ConfigurationError, PromotionError, SchemaMismatchError, UnknownSpaceError
from connector.versions import GateSettings, Trial, alone
from connector.versions.alone import LOCK_FILE
from tests.ready_shop import FEATURE_STORE

ROWS = 80
EMBEDDING = "item_shape_embedding"
TEMPLATE = """\
from feast import Entity, Field, ValueType
from feast.types import Float64, String

from connector import embedding_view
from encoders.contract import external_contract

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
item_shape = embedding_view(
    "item_shape", entity=item, vectors="shape{version}", revision={revision},
    contract=external_contract("shape", version={version}, dimension={dimension}, modality="image"),
    fields=[{fields}],
)
"""
KIND = 'Field(name="kind", dtype=String)'
PRICE = 'Field(name="price", dtype=Float64)'


def declare(folder: Path, version: int = 1, revision: int = 1, dimension: int = 8, fields: str = KIND) -> None:
    text = TEMPLATE.format(version=version, revision=revision, dimension=dimension, fields=fields)
    (folder / "features.py").write_text(text)


def goods(rows: int = ROWS) -> pa.Table:
    random = np.random.default_rng(3)
    first = random.normal(size=(rows, 8)).astype(np.float32)
    second = np.concatenate([first, random.normal(scale=0.3, size=(rows, 4))], axis=1).astype(np.float32)
    return pa.table(
        {
            "item_id": [f"i{n:03d}" for n in range(rows)],
            "kind": [("cup", "hat")[n % 2] for n in range(rows)],
            "price": [float(n) for n in range(rows)],
            "shape1": pa.array(first.tolist(), pa.list_(pa.float32())),
            "shape2": pa.array(second.tolist(), pa.list_(pa.float32())),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    repository = tmp_path / "shop"
    repository.mkdir()
    (repository / "feature_store.yaml").write_text(FEATURE_STORE.format(uri="data/milvus.db"))
    (repository / "connector.yaml").write_text("triton: {mode: process}\n")
    declare(repository)
    return repository


@pytest.fixture
def shop(folder: Path) -> Iterator[Connector]:
    """Version 1 serves 80 rows."""
    with Connector(folder) as connector:
        connector.apply()
        connector.ingest(goods(), entity="item")
        yield connector


def states(connector: Connector) -> list[tuple[str, str, int]]:
    return [(each.label, each.state, each.rows) for each in connector.versions("item_shape")]


def nearest(connector: Connector, key: str = "i000") -> list[str]:
    found: list[str] = connector.search("item_shape", item_id=key, k=5)["item_id"].to_pylist()
    return found


def vector_length(connector: Connector) -> int:
    answer = connector._repository.feature_store.get_online_features(
        features=["item_shape:item_shape_embedding"], entity_rows=[{"item_id": "i001"}]
    )
    return len(answer.to_dict()["item_shape_embedding"][0])


def test_a_declared_version_waits_beside_the_one_that_serves(shop: Connector, folder: Path) -> None:
    before = nearest(shop)
    declare(folder, version=2, dimension=12)
    report = shop.apply()
    assert [line for line in report.candidates if "version 2 is a candidate beside version 1" in line]
    assert states(shop) == [("1", "serving", ROWS), ("2", "candidate", 0)]
    assert (shop.spaces()["item_shape"].version, nearest(shop), vector_length(shop)) == (1, before, 8)
    with pytest.raises(PromotionError, match="0 rows"):
        shop.promote("item_shape")
    assert shop.spaces()["item_shape"].version == 1


def test_readers_never_meet_an_empty_registry(shop: Connector, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Feast's plain file registry, which feature_store.yaml may name, empties its file before it writes it."""
    from feast.infra.registry.file import FileRegistryStore

    assert "registry_store_type" not in (folder / "feature_store.yaml").read_text()

    def emptied(self: Any, registry: Any) -> None:
        raise AssertionError("the registry was written in place")

    monkeypatch.setattr(FileRegistryStore, "_write_registry", emptied)
    declare(folder, version=2, dimension=12)
    shop.apply()
    shop.ingest(goods(), entity="item")
    shop.promote("item_shape")
    shop.rollback("item_shape")
    assert states(shop) == [("1", "serving", ROWS), ("2", "candidate", ROWS)]
    assert not list((folder / "data").glob(".*.writing"))


def test_an_ingest_fills_both_and_promotion_moves_readers(shop: Connector, folder: Path) -> None:
    declare(folder, version=2, dimension=12, fields=f"{KIND}, {PRICE}")
    shop.apply()
    report = shop.ingest(goods(), entity="item")
    assert {name: view.written for name, view in report.views.items()} == {"item_shape": ROWS, "item_shape__v2": ROWS}
    moved = shop.promote("item_shape")
    assert (moved.before, moved.now, moved.gate.passed) == ("1", "2", True)
    assert {check.name for check in moved.gate.checks} == {"contract", "rows", "complete", "recall@10", "overlap@10"}
    assert {check.name: check.value for check in moved.gate.checks}["recall@10"] > 0.95
    assert states(shop) == [("1", "previous", ROWS), ("2", "serving", ROWS)]
    assert shop.search("item_shape", item_id="i000", where="price < 10", k=3).num_rows == 3
    assert vector_length(shop) == 12
    store = shop._repository.feature_store
    assert store.get_feature_view("item_shape").batch_source.path == "data/item_shape__v2/*.parquet"
    assert store.list_data_sources()[0].path == "data/item_shape__v2/*.parquet"

    back = shop.rollback("item_shape")
    assert (back.before, back.now) == ("2", "1")
    assert (
        f"version 1 holds {ROWS} rows, version 2 {ROWS}: what was ingested while 2 served is not in it"
        in back.next_step
    )
    assert states(shop) == [("1", "serving", ROWS), ("2", "candidate", ROWS)]
    assert vector_length(shop) == 8
    shop.apply()  # the files still declare version 2
    assert states(shop) == [("1", "serving", ROWS), ("2", "candidate", ROWS)]


def test_files_that_lag_behind_do_not_move_readers_back(shop: Connector, folder: Path) -> None:
    declare(folder, version=2, dimension=12)
    shop.apply()
    shop.ingest(goods(), entity="item")
    shop.promote("item_shape")
    declare(folder, version=1)
    report = shop.apply()
    assert "declare version 1, version 2 serves" in report.candidates[0]
    assert shop.spaces()["item_shape"].version == 2
    declare(folder, version=2, dimension=12)
    assert shop.apply().candidates == []
    assert shop.rollback("item_shape").now == "1"


def test_the_gate_refuses_and_says_why(shop: Connector, folder: Path) -> None:
    declare(folder, version=2, dimension=12)
    shop.apply()
    shop.ingest(goods().slice(0, 40), entity="item")
    with pytest.raises(PromotionError, match=r"rows 0\.5 < 0\.99") as caught:
        shop.promote("item_shape")
    assert [check.name for check in caught.value.report.failed()] == ["rows"]

    def share_of_hats(trial: Trial) -> float:
        hits = trial.search(item_id="i000", k=10)
        return 0.0 if trial.version.label == "2" else 1.0 + hits.num_rows

    settings = GateSettings(min_rows=0.5)
    with pytest.raises(PromotionError, match="hats 0 < 11"):
        shop.promote("item_shape", settings=settings, metrics={"hats": share_of_hats})
    moved = shop.promote("item_shape", settings=settings, metrics={"hats": share_of_hats}, override=["hats"])
    assert (moved.now, moved.overridden) == ("2", ["hats"])


def test_the_gate_looks_at_every_row(shop: Connector, folder: Path) -> None:
    """As many rows as keys are not the same rows."""
    declare(folder, version=2, dimension=12)
    shop.apply()
    shop.ingest(goods(), entity="item")
    store = shop._repository.vector_store
    row = pa.Table.from_batches(store.scan("item_shape__v2", ["item_id", "kind", EMBEDDING, "event_timestamp"])).slice(
        0, 1
    )
    store.delete("item_shape__v2", row.select(["item_id"]))
    store.write("item_shape__v2", row.set_column(0, "item_id", pa.array(["not in the log"])))
    assert store.count("item_shape__v2") == ROWS
    with pytest.raises(PromotionError, match="1 are missing, 0 older, 0 otherwise") as caught:
        shop.promote("item_shape")
    assert [check.name for check in caught.value.report.failed()] == ["complete"]
    shop.reconcile("item_shape", repair=True)
    assert shop.promote("item_shape").now == "2"


def test_the_gate_takes_items_that_share_a_vector_for_one_another(shop: Connector, folder: Path) -> None:
    declare(folder, version=2, dimension=12)
    shop.apply()
    rows = goods()
    vectors = rows["shape2"].to_pylist()
    same = pa.array([vectors[0] if n % 2 else vector for n, vector in enumerate(vectors)], pa.list_(pa.float32()))
    shop.ingest(rows.set_column(rows.column_names.index("shape2"), "shape2", same), entity="item")
    moved = shop.promote("item_shape")
    assert {check.name: check.value for check in moved.gate.checks}["recall@10"] == 1.0


def test_nothing_is_pruned_while_another_version_begins_to_serve(
    shop: Connector, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(folder, version=2, dimension=12)
    shop.apply()
    shop.ingest(goods(), entity="item")
    shop.promote("item_shape")
    monkeypatch.setattr(alone, "WAIT_S", 0.2)
    with FileLock(folder / "data" / LOCK_FILE):
        changes = (
            lambda: shop.prune("item_shape", keep=0),
            shop.apply,
            lambda: shop.rollback("item_shape"),
            lambda: shop.delete("item", ["i000"]),
        )
        for change in changes:
            with pytest.raises(ConfigurationError, match="prune, apply or deletion is under way"):
                change()
        assert [each.label for each in shop.prune("item_shape", keep=0, dry_run=True)] == ["1"]
    assert states(shop) == [("1", "previous", ROWS), ("2", "serving", ROWS)]


def test_a_killed_promotion_is_finished_by_the_next(shop: Connector, folder: Path) -> None:
    declare(folder, version=2, dimension=12)
    shop.apply()
    shop.ingest(goods(), entity="item")
    shop._repository.vector_store.set_alias("item_shape", "item_shape__v2")  # and then the process died
    assert nearest(shop) == nearest(shop)
    assert [(each.label, each.state, each.aliased) for each in shop.versions("item_shape")] == [
        ("1", "serving", False),
        ("2", "candidate", True),
    ]
    moved = shop.promote("item_shape")
    assert (moved.before, moved.now, moved.gate.checks) == ("1", "2", [])
    shop._repository.vector_store.set_alias("item_shape", "item_shape__v1")  # a rollback that died
    assert shop.rollback("item_shape").now == "1"
    assert [each.aliased for each in shop.versions("item_shape")] == [True, False]


def candidates(shop: Connector, folder: Path, *revisions: int) -> None:
    for revision in revisions:
        declare(folder, revision=revision, fields=f"{KIND}, {PRICE}" if revision % 2 == 0 else KIND)
        shop.apply()
    shop.ingest(goods(), entity="item")


def test_a_killed_promotion_that_apply_finishes_is_undone_to_where_it_began(shop: Connector, folder: Path) -> None:
    candidates(shop, folder, 2)
    shop.promote("item_shape")
    candidates(shop, folder, 3)
    store = shop._repository.vector_store
    for declared in (3, 2):  # what the files say when apply finishes the move
        store.set_alias("item_shape", "item_shape__v1_r3")  # and then the process died
        declare(folder, revision=declared, fields=KIND if declared == 3 else f"{KIND}, {PRICE}")
        shop.apply()
        assert [state for _, state, _ in states(shop)] == ["previous", "previous", "serving"]
        assert shop.rollback("item_shape").now == "1r2"


def test_an_overridden_check_does_not_spare_the_metrics(shop: Connector, folder: Path) -> None:
    declare(folder, revision=2)
    shop.apply()
    shop.ingest(goods(), entity="item")
    shop._repository.vector_store.delete("item_shape__v1_r2", goods().slice(60).select(["item_id"]))
    asked = []

    def worse(trial: Trial) -> float:
        asked.append(trial.version.label)
        return 0.1 if trial.version.label == "1r2" else 0.9

    with pytest.raises(PromotionError, match=r"rows 0\.75 < 0\.99"):
        shop.promote("item_shape", metrics={"ndcg": worse}, override=["complete"])
    assert asked == []  # what cannot pass is not measured further
    with pytest.raises(PromotionError, match=r"ndcg 0\.1 < 0\.9"):
        shop.promote("item_shape", metrics={"ndcg": worse}, override=["rows", "complete"])
    assert asked == ["1r2", "1"]
    assert shop.promote("item_shape", metrics={"ndcg": worse}, override=["rows", "complete", "ndcg"]).now == "1r2"


def test_pruning_keeps_what_served_before_and_not_what_was_passed_over(shop: Connector, folder: Path) -> None:
    candidates(shop, folder, 2, 3)
    assert shop.promote("item_shape", version="1r3").before == "1"
    assert [each.label for each in shop.prune("item_shape", keep=1)] == ["1r2"]
    assert shop.rollback("item_shape").now == "1"
    shop.promote("item_shape", version="1r3")
    shop.prune("item_shape", keep=0)
    with pytest.raises(UnknownSpaceError, match="version 1, which served before 1r3, is there no more"):
        shop.rollback("item_shape")


def test_carried_fields_change_by_a_revision(shop: Connector, folder: Path) -> None:
    declare(folder, fields=f"{KIND}, {PRICE}")
    with pytest.raises(SchemaMismatchError, match="revision"):
        shop.apply()
    declare(folder, revision=2, fields=f"{KIND}, {PRICE}")
    shop.apply()
    shop.ingest(goods(), entity="item")
    assert shop.promote("item_shape").now == "1r2"
    assert shop.search("item_shape", item_id="i000", where="price >= 70", k=20).num_rows == 10
    with pytest.raises(UnknownSpaceError, match="no candidate"):
        shop.promote("item_shape")


def test_an_empty_space_moves_at_once(folder: Path) -> None:
    with Connector(folder) as connector:
        connector.apply()
        declare(folder, version=2, dimension=12)
        assert connector.apply().candidates == []
        assert states(connector)[-1] == ("2", "serving", 0)
        assert connector._repository.vector_store.resolve_alias("item_shape") == "item_shape__v2"


def test_pruning_spares_what_serves(shop: Connector, folder: Path) -> None:
    declare(folder, version=2, dimension=12)
    shop.apply()
    shop.ingest(goods(), entity="item")
    with pytest.raises(ConfigurationError, match="serves"):
        shop.prune("item_shape", versions=["1"])
    shop.promote("item_shape")
    assert shop.prune("item_shape", keep=1) == []
    assert [each.label for each in shop.prune("item_shape", keep=0, dry_run=True)] == ["1"]
    assert [each.label for each in shop.prune("item_shape", keep=0, logs=True)] == ["1"]
    assert states(shop) == [("2", "serving", ROWS)]
    assert not (folder / "data" / "item_shape__v1").exists()
    with pytest.raises(UnknownSpaceError):
        shop.rollback("item_shape")


def test_the_plan_says_what_apply_would_do(shop: Connector, folder: Path) -> None:
    def planned() -> tuple[str, str]:
        (change,) = shop.plan()
        return change.change, change.detail

    assert planned() == ("unchanged", "")
    declare(folder, version=2, dimension=12)
    assert planned() == ("candidate", "version 2 is made beside version 1, which goes on serving")
    assert [each.label for each in shop.versions("item_shape")] == ["1"]
    declare(folder, fields=f"{KIND}, {PRICE}")
    kind, detail = planned()
    assert (kind, "price (float64) is new" in detail, "raise revision=" in detail) == ("refused", True, True)
    (folder / "features.py").write_text("")
    assert planned() == ("removed", "drops item_shape__v1")


def test_the_commands(shop: Connector, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    declare(folder, version=2, dimension=12)
    shop.apply()
    shop.ingest(goods(), entity="item")

    def command(*arguments: str) -> tuple[int, Any]:
        code = run([*arguments, "--repo", str(folder), "--json"], own_process=False)
        return code, json.loads(capsys.readouterr().out or "null")

    assert [each["state"] for each in command("versions", "item_shape")[1]] == ["serving", "candidate"]
    code, answer = command("promote", "item_shape", "--gate", "min_overlap=1.0")
    assert (code, answer["promoted"]) == (1, False)
    code, answer = command("promote", "item_shape", "--gate", "min_recal=1.0")
    assert (code, answer) == (2, None)
    code, answer = command("promote", "item_shape", "--metric", "ones=tests.integration.test_versions:nothing")
    assert (code, answer) == (2, None)
    assert command("promote", "item_shape", "--version", "2")[0] == 0
    assert command("rollback", "item_shape")[1]["now"] == "1"
    assert command("prune", "item_shape", "--version", "2")[1]["removed"][0]["version"] == "2"
    assert command("promote", "nothing")[0] == 2
