"""Another index, and too many fields: named by plan, and by apply carried out or refused, with readers served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connector import Connector
from connector.errors import ConfigurationError, SchemaMismatchError
from connector.testing import MilvusServer
from tests.ready_shop import FEATURE_STORE, goods

TEMPLATE = """\
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Float32, Int64, String

from connector import embedding_view
from encoders.contract import external_contract

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
item_shape = embedding_view(
    "item_shape", entity=item, vectors="shape", revision={revision}, index={index},
    contract=external_contract("shape", version=1, dimension=8, modality="image"),
    fields=[Field(name=f"f{{number}}", dtype=String) for number in range({fields})],
)
seen = FeatureView(
    name="seen", entities=[item], tags={tags},
    schema=[
        Field(name="item_id", dtype=String),
        Field(name="look", dtype=Array(Float32), vector_index=True, vector_length=8, vector_search_metric="L2"),
    ],
    source=FileSource(name="seen", path="data/seen.parquet", timestamp_field="event_timestamp"),
)
"""
OLD, NEW = ({"index_type": "HNSW", "M": M, "efConstruction": 64} for M in (8, 24))


def declare(home: Path, index: dict[str, Any], *, revision: int = 1, fields: int = 0, plain: Any = None) -> None:
    import json

    tags = {"connector/index": json.dumps(plain or OLD)}
    text = TEMPLATE.format(index=index, revision=revision, fields=fields, tags=tags)
    (home / "features.py").write_text(text)


@pytest.fixture(params=["lite", pytest.param("server", marks=pytest.mark.milvus_server)])
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    uri = "data/milvus.db"
    if request.param == "server":
        server: MilvusServer = request.getfixturevalue("milvus_server")
        uri = f"{server.uri}\n  collection_prefix: changed_"
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(FEATURE_STORE.format(uri=uri))
    (folder / "connector.yaml").write_text("triton: {mode: process}\n")
    return folder


def changes(shop: Connector) -> dict[str, tuple[str, str]]:
    return {change.view: (change.change, change.detail) for change in shop.plan()}


def index_of(shop: Connector, collection: str) -> dict[str, Any]:
    """As Milvus itself says it."""
    session = shop._repository.vector_store._opened()  # type: ignore[attr-defined]
    physical = shop._repository.feature_store.config.online_store.collection_prefix + collection
    (name,) = session.client.list_indexes(physical)
    found: dict[str, Any] = session.client.describe_index(physical, name)
    return found


def test_another_index_is_never_passed_over(home: Path) -> None:
    declare(home, OLD)
    with Connector(home) as shop:
        shop.apply()
        declare(home, NEW)
        change, detail = changes(shop)["item_shape"]
        assert (change, "is made anew" in detail) == ("migrated", True), "an empty space has nothing to lose"
        shop.apply()
        assert changes(shop)["item_shape"][0] == "unchanged"
        if shop._repository.feature_store.config.online_store.collection_prefix:  # Milvus Lite keeps no parameters
            assert int(index_of(shop, "item_shape__v1")["M"]) == 24

        shop.ingest(goods(), entity="item")
        nearest = shop.search("item_shape", item_id="i03", k=5)["item_id"].to_pylist()
        declare(home, OLD)
        change, detail = changes(shop)["item_shape"]
        assert change == "refused"
        assert "HNSW, M=24, efConstruction=64 there, HNSW, M=8, efConstruction=64 declared" in detail
        assert "raise revision=" in detail
        with pytest.raises(SchemaMismatchError, match=r"M=24.*M=8.*revision=") as caught:
            shop.apply()
        assert "\n" not in str(caught.value)
        assert shop.search("item_shape", item_id="i03", k=5)["item_id"].to_pylist() == nearest

        declare(home, OLD, revision=2)
        assert changes(shop)["item_shape"][0] == "candidate"
        shop.apply()
        shop.ingest(goods(), entity="item")
        assert shop.promote("item_shape").now == "1r2"
        assert shop.search("item_shape", item_id="i03", k=5)["item_id"].to_pylist() == nearest
        for name in shop._repository.vector_store.list_collections():
            shop._repository.vector_store.drop(name)


def test_rows_of_a_plain_view_go_into_a_collection_of_the_new_index(home: Path) -> None:
    declare(home, OLD)
    with Connector(home) as shop:
        shop.apply()
        store, vectors = shop._repository.vector_store, shop._repository.feature_store
        frame = goods().select(["item_id", "shape"]).rename_columns(["item_id", "look"]).to_pandas().head(9)
        frame["event_timestamp"] = "2026-03-01T00:00:00Z"
        frame = frame.astype({"event_timestamp": "datetime64[us, UTC]"})
        vectors.write_to_online_store("seen", df=frame)
        declare(home, OLD, plain=NEW)
        change, detail = changes(shop)["seen"]
        assert (change, "M=24" in detail, "9 rows" in detail) == ("migrated", True, True)
        shop.apply()
        assert (store.resolve_alias("seen"), store.count("seen"), changes(shop)["seen"][0]) == (
            "seen__v2",
            9,
            "unchanged",
        )
        for name in store.list_collections():
            store.drop(name)


@pytest.mark.milvus_server
@pytest.mark.parametrize("home", ["server"], indirect=True)
def test_too_many_fields_are_refused_before_anything_is_written(home: Path) -> None:
    declare(home, OLD, fields=60)
    with Connector(home) as shop:
        change, detail = changes(shop)["item_shape"]
        assert change == "refused"
        for part in ("60 fields", "74 columns", "takes 64", "enough for 51 fields", "split the view"):
            assert part in detail
        with pytest.raises(ConfigurationError, match="74 columns"):
            shop.apply()
        assert shop._repository.vector_store.list_collections() == []
        assert b"item_shape" not in (home / "data" / "registry.db").read_bytes()
        declare(home, OLD, fields=51)
        shop.apply()
        for name in shop._repository.vector_store.list_collections():
            shop._repository.vector_store.drop(name)
