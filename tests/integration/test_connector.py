"""The Connector over real Feast and Milvus Lite, with ready vectors so that every answer can be computed by hand."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from connector import Connector
from connector.errors import (
    ConfigurationError,
    FilterError,
    QueryError,
    StoreUnavailableError,
    UnknownSpaceError,
)
from connector.retrieval.fusion import reciprocal_rank_fusion
from tests.ready_shop import FEATURES, QUERY, ROWS, SOUND, best, cosines, distances, goods, write_repository


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connector]:
    folder = write_repository(tmp_path_factory.mktemp("connector") / "shop")
    with Connector(folder) as connector:
        report = connector.apply()
        assert report.problems == []
        done = connector.ingest(goods(), entity="item")
        assert {name: view.written for name, view in done.views.items()} == {
            "item_content": ROWS,
            "item_shape": ROWS,
            "item_sound": ROWS - ROWS // 5,
        }
        yield connector


def test_spaces_come_from_the_registry(shop: Connector) -> None:
    spaces = shop.spaces()
    assert set(spaces) == {"item_shape", "item_sound", "user_taste"}
    assert spaces["item_sound"].contract.metric == "L2"
    assert shop.count("item_shape") == ROWS
    assert shop.count("item_sound") == ROWS - ROWS // 5


def test_applying_again_changes_nothing(shop: Connector) -> None:
    notices: list[str] = []
    report = shop.apply(notices.append)
    assert report.project == "shop"
    assert report.content_views == ["item_content"]
    assert [(space.name, space.rows) for space in report.spaces] == [
        ("item_shape", ROWS),
        ("item_sound", ROWS - ROWS // 5),
        ("user_taste", 0),
    ]
    assert report.encoders == {}
    assert report.problems == []
    assert report.to_dict()["spaces"][0]["collection"] == "item_shape__v1"
    assert notices


def test_a_vector_finds_the_nearest(shop: Connector) -> None:
    table = shop.search("item_shape", vector=QUERY, k=10)
    expected = best(cosines(QUERY))[:10]
    assert table.column_names == ["item_id", "rank", "score", "kind", "price", "added"]
    assert table.schema.field("rank").type == pa.int32()
    assert table.schema.field("score").type == pa.float64()
    assert table["item_id"].to_pylist() == [hit.key for hit in expected]
    assert table["rank"].to_pylist() == list(range(1, 11))
    assert table["score"].to_pylist() == pytest.approx([hit.score for hit in expected], abs=1e-5)
    by_key = dict(zip(goods()["item_id"].to_pylist(), goods().to_pylist(), strict=True))
    for row in table.to_pylist():
        assert (row["kind"], row["price"], row["added"]) == tuple(
            by_key[row["item_id"]][name] for name in ("kind", "price", "added")
        )


def test_a_distance_becomes_a_score_of_which_more_is_better(shop: Connector) -> None:
    table = shop.search("item_sound", vector=SOUND, k=5)
    expected = best(distances(SOUND))[:5]
    assert table["item_id"].to_pylist() == [hit.key for hit in expected]
    assert table["score"].to_pylist() == pytest.approx([hit.score for hit in expected], rel=1e-4)


def test_k_beyond_the_rows_returns_them_all(shop: Connector) -> None:
    assert shop.search("item_shape", vector=QUERY, k=10_000).num_rows == ROWS


@pytest.mark.parametrize(
    ("where", "keep"),
    [
        ("price < 10", lambda row: row["price"] is not None and row["price"] < 10),
        (
            "kind = 'cup' AND price BETWEEN 5 AND 40",
            lambda r: r["kind"] == "cup" and r["price"] and 5 <= r["price"] <= 40,
        ),
        ("kind IN ('hat', 'shoe') OR price IS NULL", lambda r: r["kind"] in ("hat", "shoe") or r["price"] is None),
        ("item_id = 'i07'", lambda row: row["item_id"] == "i07"),
        ("price > 1000", lambda row: row["price"] is not None and row["price"] > 1000),
    ],
)
def test_filters(shop: Connector, where: str, keep: Any) -> None:
    table = shop.search("item_shape", vector=QUERY, k=ROWS, where=where)
    assert set(table["item_id"].to_pylist()) == {row["item_id"] for row in goods().to_pylist() if keep(row)}


def test_a_stored_item_finds_others_and_not_itself(shop: Connector) -> None:
    own = np.array(goods()["shape"][4].as_py())
    expected = [hit.key for hit in best(cosines(own)) if hit.key != "i04"][:7]
    assert shop.search("item_shape", item_id="i04", k=7)["item_id"].to_pylist() == expected


def test_a_stored_item_without_one_of_the_modalities(shop: Connector) -> None:
    both = shop.search(["item_shape", "item_sound"], item_id="i05", k=5)
    assert both["item_id"].to_pylist() == shop.search("item_shape", item_id="i05", k=5)["item_id"].to_pylist()
    usual = shop.search(["item_shape", "item_sound"], item_id="i01", k=5)
    assert both.schema == usual.schema
    assert both["item_sound.rank"].to_pylist() == [None] * 5
    rows = {row["item_id"]: row for row in goods().to_pylist()}
    brands = [None if rows[k]["sound"] is None else rows[k]["brand"] for k in both["item_id"].to_pylist()]
    assert both["brand"].to_pylist() == brands
    with pytest.raises(QueryError, match="'i05' is not stored in item_sound"):
        shop.search("item_sound", item_id="i05")


@pytest.mark.parametrize("fusion", ["rrf", "score"])
def test_two_spaces_are_fused(shop: Connector, fusion: Any) -> None:
    weights = {"item_sound": 0.4, "item_shape": 0.6}
    table = shop.search(weights, item_id="i01", k=ROWS, fusion=fusion)
    shape, sound = (np.array(goods()[name][1].as_py()) for name in ("shape", "sound"))
    lists = {"item_shape": best(cosines(shape)), "item_sound": best(distances(sound))}
    lists = {name: [hit for hit in hits if hit.key != "i01"] for name, hits in lists.items()}
    assert set(table["item_id"].to_pylist()) == {hit.key for hit in lists["item_shape"]}
    if fusion == "rrf":
        expected = reciprocal_rank_fusion(lists, weights)
        assert table["item_id"].to_pylist() == [hit.key for hit in expected]
        assert table["score"].to_pylist() == pytest.approx([hit.score for hit in expected])
    places = {hit.key: place for place, hit in enumerate(lists["item_sound"], 1)}
    for row in table.to_pylist():
        assert row["item_sound.rank"] == places.get(row["item_id"])
        assert (row["item_sound.score"] is None) == (row["item_id"] not in places)
    assert table["score"].to_pylist() == sorted(table["score"].to_pylist(), reverse=True)


def test_fused_rows_carry_the_scalars_of_every_space(shop: Connector) -> None:
    table = shop.search(["item_sound", "item_shape"], item_id="i01", k=8)
    assert set(table.column_names) >= {"kind", "price", "added", "brand"}
    rows = {row["item_id"]: row for row in goods().to_pylist()}
    for row in table.to_pylist():
        assert row["price"] == rows[row["item_id"]]["price"]
        assert row["kind"] == rows[row["item_id"]]["kind"]
        silent = rows[row["item_id"]]["sound"] is None
        assert row["brand"] == (None if silent else rows[row["item_id"]]["brand"])


def test_scalars_of_items_that_only_another_space_found_are_read(
    shop: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.retrieval.search.OVER_FETCH", 1)
    monkeypatch.setattr("connector.retrieval.search.LEAST_FETCH", 1)
    found = shop.search({"item_sound": 1.0, "item_shape": 0.9}, item_id="i01", k=8).to_pylist()
    assert any(row["item_shape.rank"] is None for row in found)
    assert any(row["item_sound.rank"] is None for row in found)
    rows = {row["item_id"]: row for row in goods().to_pylist()}
    for row in found:
        expected = rows[row["item_id"]]
        assert (row["price"], row["added"]) == (expected["price"], expected["added"])
        assert row["brand"] == (None if expected["sound"] is None else expected["brand"])


def test_fields_may_be_chosen(shop: Connector) -> None:
    assert shop.search("item_shape", vector=QUERY, fields=["price"]).column_names == [
        "item_id",
        "rank",
        "score",
        "price",
    ]
    assert shop.search("item_shape", vector=QUERY, fields=[]).column_names == ["item_id", "rank", "score"]


def test_features_are_joined_in_the_order_of_the_ranks(shop: Connector) -> None:
    table = shop.search("item_shape", vector=QUERY, k=12, features=["item_content:title", "item_content:stock"])
    assert table.column_names[-2:] == ["title", "stock"]
    for row in table.to_pylist():
        assert row["title"] == f"thing {int(row['item_id'][1:])}"
        assert row["stock"] == int(row["item_id"][1:])
    assert table["item_id"].to_pylist() == shop.search("item_shape", vector=QUERY, k=12)["item_id"].to_pylist()


def test_a_feature_service_and_features_without_values(shop: Connector) -> None:
    table = shop.search("item_shape", vector=QUERY, k=3, features="details")
    assert table.column_names[-2:] == ["title", "stock"]
    empty = shop.search("item_shape", vector=QUERY, k=3, features=["item_stats:clicks_7d"])
    assert empty["clicks_7d"].to_pylist() == [None] * 3
    assert empty.schema.field("clicks_7d").type == pa.int64()


@pytest.mark.parametrize("features", ["details", ["item_content:stock"], ["item_content:title", "item_stats:title"]])
def test_features_of_nothing_found(shop: Connector, features: Any) -> None:
    some = shop.search("item_shape", vector=QUERY, k=3, features=features)
    none = shop.search("item_shape", vector=QUERY, k=3, features=features, where="price < -1")
    assert none.num_rows == 0
    assert none.schema.equals(some.schema)


def test_features_of_one_name_keep_their_views(shop: Connector) -> None:
    table = shop.search("item_shape", vector=QUERY, k=3, features=["item_content:title", "item_stats:title"])
    assert table.column_names[-2:] == ["item_content__title", "item_stats__title"]


BY_ITEM = {"item_id": "i01", "vector": None}


@pytest.mark.parametrize(
    ("spaces", "query", "error", "message"),
    [
        ("item_shap", {}, UnknownSpaceError, "did you mean item_shape"),
        ({"item_shape": 1, "item_shpe": 0.5}, {}, UnknownSpaceError, "item_shpe"),
        (["item_shape", "user_taste"], {}, QueryError, "user_taste holds user"),
        ("item_shape", {"where": "price <"}, FilterError, "item_shape"),
        ("item_shape", {"where": "colour = 'red'"}, FilterError, "colour"),
        (
            ["item_shape", "item_sound"],
            {"item_id": "i01", "vector": None, "where": "price < 5"},
            FilterError,
            "item_sound",
        ),
        ("item_shape", {"fields": ["prise"]}, QueryError, "did you mean price"),
        ("item_shape", {"features": ["item_content"]}, QueryError, "view:feature"),
        ("item_shape", {"features": ["item_contents:title"]}, QueryError, "did you mean item_content"),
        ("item_shape", {"features": ["item_content:titel"]}, QueryError, "did you mean title"),
        ("item_shape", {"features": "detail"}, QueryError, "did you mean details"),
        ("item_shape", {"vector": [1.0, 2.0]}, QueryError, "vectors of 8"),
        ("item_shape", {"vector": None, "text": "cup"}, QueryError, "vector= or item_id="),
        ("item_shape", {"vector": None, "item_id": "nobody"}, QueryError, "nobody"),
        ("user_taste", {"vector": None, "item_id": "nobody"}, QueryError, "whole number"),
    ],
)
def test_searches_that_make_no_sense(
    shop: Connector, spaces: Any, query: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        shop.search(spaces, **{"vector": QUERY, **query})
    assert "\n" not in str(caught.value)


def test_many_threads_search_at_once(shop: Connector) -> None:
    expected = shop.search(["item_shape", "item_sound"], item_id="i02", k=10)
    answers: list[pa.Table] = []

    def ask() -> None:
        answers.extend(shop.search(["item_shape", "item_sound"], item_id="i02", k=10) for _ in range(3))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 18
    assert all(answer.equals(expected) for answer in answers)


def test_ingest_of_some_views_and_of_none(shop: Connector) -> None:
    report = shop.ingest(goods().slice(0, 2), entity="item", spaces=["item_content"])
    assert list(report.views) == ["item_content"]
    with pytest.raises(UnknownSpaceError, match="did you mean item_shape"):
        shop.ingest(goods(), entity="item", spaces=["item_shap"])
    with pytest.raises(UnknownSpaceError, match="did you mean item"):
        shop.ingest(goods(), entity="items")
    with pytest.raises(ConfigurationError, match="entity="):
        shop.ingest(goods())


def test_logs_are_where_feast_looks_for_them(shop: Connector) -> None:
    import pyarrow.dataset as ds

    table = ds.dataset(sorted((shop.path / "data" / "item_shape__v1").glob("*.parquet"))).to_table()
    assert set(table["item_id"].to_pylist()) == set(goods()["item_id"].to_pylist())


def test_a_space_applied_elsewhere_is_seen_at_once(tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "shop")
    with Connector(folder) as one, Connector(folder) as two:
        one.apply()
        assert "item_shape" in two.spaces()
        (folder / "features.py").write_text(FEATURES.replace("item_sound", "item_noise"))
        one.apply()
        assert "item_noise" in two.spaces()
        assert "item_sound" not in two.spaces()


def test_after_a_plain_feast_apply(tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "shop")
    feast = Path(sys.executable).with_name("feast")
    done = subprocess.run([str(feast), "apply"], cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    with Connector(folder) as connector:
        assert connector.ingest(goods(), entity="item").views["item_shape"].written == ROWS
        assert connector.search("item_shape", vector=QUERY, k=1).num_rows == 1


def test_a_contract_changed_without_a_new_version_is_refused(tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "shop")
    with Connector(folder) as connector:
        connector.apply()
        before = connector.spaces()
        registry = (folder / "data" / "registry.db").read_bytes()
        changed = FEATURES.replace('external_contract("shape", version=1', 'external_contract("shapes", version=1')
        (folder / "features.py").write_text(changed)
        with pytest.raises((ConfigurationError, ValueError), match=r"item_shape|user_taste"):
            connector.apply()
        assert (folder / "data" / "registry.db").read_bytes() == registry
        assert connector.spaces() == before


def test_milvus_that_does_not_answer_leaves_nothing_written(tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "shop", uri="http://127.0.0.1:9")
    with Connector(folder) as connector, pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:9"):
        connector.apply()
    assert not (folder / "data" / "registry.db").exists()


def test_a_closed_connector_says_so(tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "shop")
    connector = Connector(folder)
    connector.apply()
    connector.close()
    connector.close()
    with pytest.raises(ConfigurationError, match="closed"):
        connector.search("item_shape", vector=QUERY)
