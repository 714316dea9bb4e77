"""Feast's calls on Milvus beside SQLite: each view in its store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_source import PushMode
from feast.infra.online_stores.sqlite import SqliteOnlineStore
from feast.types import Float64, Int64, String

from connector.errors import ConfigurationError
from connector.spaces import embedding_view
from connector.stores.hybrid import HybridOnlineStore
from encoders.contract import external_contract

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
VECTORS = np.random.default_rng(3).standard_normal((9, 4)).astype(np.float32)
KEYS = ["i5", "i1", "i8", "i0", "i3", "i7", "i2", "i6", "i4"]
YAML = """project: shop
registry: data/registry.db
provider: local
offline_store:
  type: dask
entity_key_serialization_version: 3
online_store:
  type: connector.stores.hybrid.HybridOnlineStore
  routing_tag: serve_from
  online_stores:
    - type: connector.stores.online.MilvusOnlineStore
      conf:
        uri: data/milvus.db
    - type: sqlite
      conf:
        path: {path}/data/online.db
"""


def plain(name: str, tags: dict[str, str] | None = None) -> FeatureView:
    source = FileSource(name=f"{name}_file", path=f"data/{name}.parquet", timestamp_field="event_timestamp")
    return FeatureView(
        name=name,
        entities=[ITEM],
        schema=[
            Field(name="item_id", dtype=String),
            Field(name="clicks", dtype=Int64),
            Field(name="rate", dtype=Float64),
        ],
        source=PushSource(name=f"{name}_push", batch_source=source),
        tags=tags or {},
    )


def clicks(factor: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "item_id": KEYS,
            "clicks": [int(key[1:]) * factor for key in KEYS],
            "rate": [0.5] * len(KEYS),
            "event_timestamp": [NOW] * len(KEYS),
        }
    )


@pytest.fixture(scope="module")
def feast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """A space in Milvus, `stats` in SQLite by default, `pinned` in Milvus by its tag."""
    path: Path = tmp_path_factory.mktemp("hybrid")
    (path / "data").mkdir()
    (path / "feature_store.yaml").write_text(YAML.format(path=path))
    store = FeatureStore(repo_path=str(path))
    look = embedding_view(
        "look",
        entity=ITEM,
        contract=external_contract("ext", version=1, dimension=4, modality="image"),
        vectors="vector",
        fields=[Field(name="title", dtype=String)],
    )
    views = [look, plain("stats"), plain("pinned", {"serve_from": "milvusonlinestore"})]
    store.apply([ITEM, *views, FeatureService(name="card", features=[look[["title"]], views[1], views[2][["rate"]]])])
    frame = pd.DataFrame({"item_id": KEYS, "look_embedding": VECTORS.tolist(), "title": [f"t{key}" for key in KEYS]})
    store.write_to_online_store("look", frame.assign(event_timestamp=NOW, created_timestamp=NOW))
    store.push("stats_push", clicks(10), to=PushMode.ONLINE)
    store.push("pinned_push", clicks(1000), to=PushMode.ONLINE)
    yield store
    store.teardown()
    asyncio.run(hybrid(store).close())


def hybrid(store: FeatureStore) -> HybridOnlineStore:
    online = store._get_provider().online_store
    assert isinstance(online, HybridOnlineStore)
    return online


def test_views_lie_where_they_belong(feast: FeatureStore) -> None:
    assert {"look__v1", "pinned__v1"} == set(hybrid(feast).vector_store(feast.config).list_collections())
    kinds = {type(store) for store in hybrid(feast)._stores.values()}
    assert SqliteOnlineStore in kinds
    database = Path(str(feast.repo_path)) / "data" / "online.db"
    assert b"shop_stats" in database.read_bytes()


def test_one_answer_from_both(feast: FeatureStore) -> None:
    service = feast.get_feature_service("card")
    asked = {"features": service, "entity_rows": [{"item_id": key} for key in ("i7", "nobody", "i0")]}
    wanted: dict[str, list[Any]] = {
        "item_id": ["i7", "nobody", "i0"],
        "look__title": ["ti7", None, "ti0"],
        "stats__clicks": [70, None, 0],
        "stats__rate": [0.5, None, 0.5],
        "pinned__rate": [0.5, None, 0.5],
    }
    assert feast.get_online_features(**asked, full_feature_names=True).to_dict() == wanted


def test_searches_go_to_milvus(feast: FeatureStore) -> None:
    found = feast.retrieve_online_documents_v2(
        features=["look:title", "look:look_embedding"], query=VECTORS[3].tolist(), top_k=4
    ).to_dict()
    assert "i0" in found["item_id"]
    assert found["title"] == [f"t{key}" for key in found["item_id"]]
    rows = [KEYS.index(key) for key in found["item_id"]]
    np.testing.assert_array_equal(np.array(found["look_embedding"], np.float32), VECTORS[rows])


def test_asynchronous_calls_where_every_store_has_them(feast: FeatureStore) -> None:
    assert not hybrid(feast).async_supported.read  # SQLite has none


def test_applying_again_and_dropping_one_view(feast: FeatureStore) -> None:
    extra = plain("extra")
    milvus = plain("milvus_extra", {"serve_from": "connector.stores.online.MilvusOnlineStore"})
    feast.apply([ITEM, extra, milvus])
    feast.push("extra_push", clicks(1), to=PushMode.ONLINE)
    feast.push("milvus_extra_push", clicks(2), to=PushMode.ONLINE)
    rows = [{"item_id": "i3"}]
    assert feast.get_online_features(features=["milvus_extra:clicks"], entity_rows=rows).to_dict()["clicks"] == [6]
    feast.apply([], objects_to_delete=[extra, milvus], partial=False)
    assert "milvus_extra__v1" not in hybrid(feast).vector_store(feast.config).list_collections()
    assert feast.get_online_features(features=["stats:clicks"], entity_rows=rows).to_dict()["clicks"] == [30]
    assert feast.get_online_features(features=["pinned:clicks"], entity_rows=rows).to_dict()["clicks"] == [3000]


def test_a_tag_that_names_no_store(feast: FeatureStore) -> None:
    with pytest.raises(ConfigurationError, match="redis"):
        hybrid(feast).update(feast.config, [], [plain("lost", {"serve_from": "redis"})], [], [], partial=True)


def test_a_plan_names_what_both_need(feast: FeatureStore) -> None:
    planned = hybrid(feast).plan(feast.config, feast.registry.proto())
    assert {"look", "pinned", "shop_stats"} <= {thing.name for thing in planned}
