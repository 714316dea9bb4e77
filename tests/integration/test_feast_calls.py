"""Feast's own calls on a repository with an embedding space and a plain view, on Milvus Lite."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_source import PushMode
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, Json, Map, String, UnixTimestamp

from connector.errors import FilterError, QueryError, SchemaMismatchError, StoreError
from connector.spaces import embedding_view, log_folder
from connector.stores import OfflineLog, open_vector_store, store_rows
from connector.stores.online import MilvusOnlineStore
from connector.stores.online_config import view_spec
from encoders.contract import external_contract

DIMENSION = 8
ROWS = 40
NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
KEYS = [f"i{(row * 7) % ROWS}" for row in range(ROWS)]
VECTORS = np.random.default_rng(0).standard_normal((ROWS, DIMENSION)).astype(np.float32)

ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
SHOP = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT32)

FIELDS = [
    Field(name="title", dtype=String),
    Field(name="price", dtype=Float32),
    Field(name="weight", dtype=Float64),
    Field(name="stock", dtype=Int32),
    Field(name="clicks", dtype=Int64),
    Field(name="sold", dtype=Bool),
    Field(name="seen", dtype=UnixTimestamp),
    Field(name="raw", dtype=Bytes),
    Field(name="tags", dtype=Array(String)),
    Field(name="sizes", dtype=Array(Int64)),
    Field(name="scores", dtype=Array(Float64)),
    Field(name="flags", dtype=Array(Bool)),
    Field(name="times", dtype=Array(UnixTimestamp)),
]


@dataclass
class Repository:
    """An applied feature repository."""

    path: Path
    feast: FeatureStore
    space: FeatureView
    stats: FeatureView
    log: OfflineLog


def rows(keys: list[str], event: datetime, mark: str = "t") -> pa.Table:
    """Log rows of the space, a third of the lists null."""
    count = len(keys)
    places = [KEYS.index(key) for key in keys]
    times = pa.array([event] * count, pa.timestamp("us", tz="UTC"))
    return pa.table(
        {
            "item_id": keys,
            "item_text_embedding": pa.FixedSizeListArray.from_arrays(pa.array(VECTORS[places].reshape(-1)), DIMENSION),
            "title": [f"{mark}{place} 'ü'" for place in places],
            "price": pa.array([None if place % 4 == 0 else place / 4 for place in places], pa.float32()),
            "weight": [place / 3 for place in places],
            "stock": pa.array(places, pa.int32()),
            "clicks": [place * 10**10 for place in places],
            "sold": [place % 2 == 0 for place in places],
            "seen": times,
            "raw": [b"\x00\xff" + key.encode() for key in keys],
            "tags": pa.array([None if p % 3 == 0 else ["a", f"b{p}"] for p in places], pa.list_(pa.string())),
            "sizes": pa.array([[place, -place] for place in places], pa.list_(pa.int64())),
            "scores": pa.array([[place / 2] for place in places], pa.list_(pa.float64())),
            "flags": pa.array([[True, False] for _ in places], pa.list_(pa.bool_())),
            "times": pa.array([[event] for _ in places], pa.list_(pa.timestamp("us", tz="UTC"))),
            "event_timestamp": times,
            "created_timestamp": times,
        }
    )


def make_space(**changes: Any) -> FeatureView:
    contract = external_contract("ext", version=1, dimension=DIMENSION, modality="text")
    settings: dict[str, Any] = {"entity": ITEM, "contract": contract, "vectors": "vector", "fields": FIELDS}
    return embedding_view("item_text", **{**settings, **changes})


def make_stats(name: str = "user_shop") -> FeatureView:
    source = FileSource(name=f"{name}_file", path="data/absent.parquet", timestamp_field="event_timestamp")
    return FeatureView(
        name=name,
        entities=[USER, SHOP],
        ttl=timedelta(0),
        schema=[
            Field(name="user_id", dtype=Int64),
            Field(name="shop_id", dtype=Int32),
            Field(name="visits", dtype=Int64),
            Field(name="notes", dtype=Map),
            Field(name="document", dtype=Json),
        ],
        source=PushSource(name=f"{name}_push", batch_source=source),
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A repository with a space of forty items, materialised from its log, and a view without a vector."""
    path = tmp_path_factory.mktemp("repository")
    (path / "feature_store.yaml").write_text(
        "project: shop\nregistry: data/registry.db\nprovider: local\n"
        "online_store:\n  type: connector.stores.online.MilvusOnlineStore\n  uri: data/milvus.db\n"
        "  collection_prefix: feast_\n"
        "offline_store:\n  type: dask\nentity_key_serialization_version: 3\n"
    )
    feast = FeatureStore(repo_path=str(path))
    space, stats = make_space(), make_stats()
    log = OfflineLog(path / log_folder(space))
    log.ensure(space)
    feast.apply([ITEM, USER, SHOP, space, stats, FeatureService(name="everything", features=[space])])
    log.append(rows(KEYS, NOW - timedelta(days=2), "old"), "part-1")
    log.append(rows(KEYS[:10], NOW - timedelta(days=1)), "part-2")
    log.append(rows(KEYS[10:], NOW - timedelta(days=1)), "part-3")
    feast.materialize(NOW - timedelta(days=5), NOW, feature_views=["item_text"])
    yield Repository(path, feast, space, stats, log)
    feast.teardown()


def online(repository: Repository, features: list[str], keys: list[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = repository.feast.get_online_features(
        features=[f"item_text:{name}" for name in features], entity_rows=[{"item_id": key} for key in keys]
    ).to_dict()
    return found


def test_every_type_comes_back_from_a_materialised_log(repository: Repository) -> None:
    keys = ["i7", "nobody", "i0", "i21", "i7"]
    expected = {row["item_id"]: row for row in rows(KEYS, NOW - timedelta(days=1)).to_pylist()}
    names = [field.name for field in FIELDS]
    found = online(repository, [*names, "item_text_embedding"], keys)
    assert found["item_id"] == keys
    for name in (*names, "item_text_embedding"):
        wanted = [expected[key][name] if key in expected else None for key in keys]
        assert found[name] == wanted, name
    assert isinstance(found["price"][0], float)


def test_a_subset_of_features_and_a_feature_service(repository: Repository) -> None:
    assert set(online(repository, ["stock"], ["i7"])) == {"item_id", "stock"}
    service = repository.feast.get_feature_service("everything")
    found = repository.feast.get_online_features(features=service, entity_rows=[{"item_id": "i7"}]).to_dict()
    assert set(found) == {"item_id", "item_text_embedding", *(field.name for field in FIELDS)}


def test_documents_stand_beside_their_own_keys(repository: Repository) -> None:
    """Feast pairs features with keys by the rank of the key; forty keys that do not come out sorted prove it."""
    for query in range(0, ROWS, 5):
        found = repository.feast.retrieve_online_documents_v2(
            features=["item_text:title", "item_text:stock", "item_text:item_text_embedding"],
            query=VECTORS[query].tolist(),
            top_k=7,
        ).to_dict()
        cosine = (VECTORS @ VECTORS[query]) / np.linalg.norm(VECTORS, axis=1) / np.linalg.norm(VECTORS[query])
        nearest = {KEYS[place] for place in np.argsort(-cosine)[:7]}
        assert set(found["item_id"]) == nearest
        places = [KEYS.index(key) for key in found["item_id"]]
        assert found["stock"] == places
        assert found["title"] == [f"t{place} 'ü'" for place in places]
        np.testing.assert_allclose(found["distance"], cosine[places], rtol=1e-4)
        np.testing.assert_array_equal(np.array(found["item_text_embedding"], np.float32), VECTORS[places])


def test_documents_refuse_what_cannot_be_answered(repository: Repository) -> None:
    store, config = repository.feast._get_provider().online_store, repository.feast.config
    query = VECTORS[0].tolist()
    with pytest.raises(QueryError, match="L2"):
        store.retrieve_online_documents_v2(config, repository.space, ["title"], query, 3, "L2")
    with pytest.raises(QueryError, match="keyword"):
        store.retrieve_online_documents_v2(config, repository.space, ["title"], query, 3, query_string="red")
    with pytest.raises(FilterError, match="filters"):
        store.retrieve_online_documents_v2(config, repository.space, ["title"], query, 3, filters=object())
    with pytest.raises(QueryError, match="no vector"):
        store.retrieve_online_documents_v2(config, repository.stats, ["visits"], query, 3)
    assert len(store.retrieve_online_documents_v2(config, repository.space, None, query, 3)) == 3


@pytest.mark.filterwarnings("ignore:Downcasting object dtype arrays:FutureWarning")  # feast.infra.offline_stores.dask
def test_the_log_answers_point_in_time_joins(repository: Repository) -> None:
    entities = pd.DataFrame(
        {
            "item_id": ["i0", "i0", "i7"],
            "event_timestamp": [NOW - timedelta(hours=30), NOW, NOW],
        }
    )
    found = repository.feast.get_historical_features(
        entities, features=["item_text:title", "item_text:stock", "item_text:item_text_embedding"]
    ).to_df()
    found = found.sort_values(["item_id", "event_timestamp"])
    assert found["title"].tolist() == ["old0 'ü'", "t0 'ü'", "t1 'ü'"]
    np.testing.assert_array_equal(np.stack(found["item_text_embedding"].tolist()), VECTORS[[0, 0, 1]])


def test_an_older_event_does_not_overwrite(repository: Repository) -> None:
    frame = rows(["i7"], NOW - timedelta(days=3), "stale").to_pandas()
    repository.feast.write_to_online_store("item_text", df=frame)
    assert online(repository, ["title"], ["i7"])["title"] == ["t1 'ü'"]


def test_push_with_a_compound_key_and_maps(repository: Repository) -> None:
    frame = pd.DataFrame(
        {
            "user_id": [2**40, -1],
            "shop_id": pd.array([7, 8], dtype="int32"),
            "visits": [3, 4],
            "notes": [{"ü": "b"}, {"ü": "'"}],
            "document": ['{"a": [1, null]}', "{}"],
            "event_timestamp": [NOW, NOW],
        }
    )
    repository.feast.push("user_shop_push", frame, to=PushMode.ONLINE)
    asked = [{"user_id": -1, "shop_id": 8}, {"user_id": -1, "shop_id": 7}, {"user_id": 2**40, "shop_id": 7}]
    found = repository.feast.get_online_features(
        features=["user_shop:visits", "user_shop:notes", "user_shop:document"], entity_rows=asked
    ).to_dict()
    assert found["visits"] == [4, None, 3]
    assert found["notes"] == [{"ü": "'"}, None, {"ü": "b"}]
    assert found["document"] == [{}, None, {"a": [1, None]}]


def test_async_reads_and_writes(repository: Repository) -> None:
    frame = pd.DataFrame(
        {"user_id": [5], "shop_id": pd.array([5], dtype="int32"), "visits": [9], "event_timestamp": [NOW]}
    ).assign(notes=[{"a": "b"}], document=["{}"])

    async def both() -> dict[str, list[Any]]:
        await repository.feast.write_to_online_store_async("user_shop", frame)
        answer = await repository.feast.get_online_features_async(
            features=["user_shop:visits"], entity_rows=[{"user_id": 5, "shop_id": 5}]
        )
        found: dict[str, list[Any]] = answer.to_dict()
        return found

    assert asyncio.run(both())["visits"] == [9]


def test_the_vector_store_beneath_holds_the_same_rows(repository: Repository) -> None:
    with open_vector_store(repository.feast.config) as store:
        spec = view_spec(repository.feast.config, repository.space)
        assert store.describe("item_text") == spec
        assert store.resolve_alias("item_text") == "item_text__v1"
        assert store.count("item_text") == ROWS
        table = store_rows(rows(["i7"], NOW - timedelta(days=1)), spec, {f.name: str(f.dtype) for f in FIELDS})
        assert store.write("item_text", table).written == 1
    assert online(repository, ["tags", "raw"], ["i7"]) == {
        "item_id": ["i7"],
        "tags": [["a", "b1"]],
        "raw": [b"\x00\xffi7"],
    }


def test_a_changed_shape_is_refused_and_the_rows_stay(repository: Repository) -> None:
    store: MilvusOnlineStore = repository.feast._get_provider().online_store
    wider = external_contract("ext", version=1, dimension=DIMENSION * 2, modality="text")
    with pytest.raises(SchemaMismatchError, match="item_text__v1"):
        store.update(repository.feast.config, [], [make_space(contract=wider)], [], [], partial=True)
    with pytest.raises(SchemaMismatchError, match="fields"):
        store.update(repository.feast.config, [], [make_space(fields=FIELDS[1:])], [], [], partial=True)
    assert store.vector_store(repository.feast.config).count("item_text") == ROWS


def test_deleted_views_are_dropped_and_nothing_else(repository: Repository) -> None:
    store: MilvusOnlineStore = repository.feast._get_provider().online_store
    config, beneath = repository.feast.config, store.vector_store(repository.feast.config)
    going, staying = make_stats("going"), make_stats("going__v1x")
    store.update(config, [], [going, staying], [], [], partial=True)
    assert {"going__v1", "going__v1x__v1"} <= set(beneath.list_collections())
    store.update(config, [going], [], [], [], partial=True)
    assert "going__v1" not in beneath.list_collections()
    assert beneath.resolve_alias("going") is None
    assert {"going__v1x__v1", "item_text__v1"} <= set(beneath.list_collections())
    store.teardown(config, [staying], [])
    with pytest.raises(StoreError, match="going"):
        store.online_read(config, going, [], ["visits"])


def test_features_called_like_columns_of_search_results(repository: Repository) -> None:
    """They are stored and served; only a search cannot give them beside its own columns."""
    fields = [Field(name=name, dtype=String) for name in ("query", "distance", "plain")]
    vector = Field(name="look", dtype=Array(Float32), vector_index=True, vector_length=2, vector_search_metric="COSINE")
    source = FileSource(name="named_file", path="data/absent.parquet", timestamp_field="event_timestamp")
    schema = [Field(name="item_id", dtype=String), vector, *fields]
    view = FeatureView(name="named", entities=[ITEM], schema=schema, source=source)
    repository.feast.apply([ITEM, view])
    frame = pd.DataFrame({"item_id": ["a"], "look": [[1.0, 0.0]], "query": ["q"], "distance": ["d"], "plain": ["p"]})
    repository.feast.write_to_online_store("named", df=frame.assign(event_timestamp=NOW))
    refs = [f"named:{field.name}" for field in fields]
    found = repository.feast.get_online_features(features=refs, entity_rows=[{"item_id": "a"}]).to_dict()
    assert found == {"item_id": ["a"], "query": ["q"], "distance": ["d"], "plain": ["p"]}
    for name in ("query", "distance"):
        with pytest.raises(QueryError, match=name):
            repository.feast.retrieve_online_documents_v2(features=[f"named:{name}"], query=[1.0, 0.0], top_k=1)
    near = repository.feast.retrieve_online_documents_v2(features=["named:plain"], query=[1.0, 0.0], top_k=1).to_dict()
    assert (near["plain"], near["distance"]) == (["p"], [1.0])
    repository.feast.apply([], objects_to_delete=[view], partial=False)


def test_a_precomputed_service_is_refused_with_the_remedy(repository: Repository) -> None:
    service = FeatureService(name="ready", features=[repository.space[["title"]]], precompute_online=True)
    repository.feast.apply([service])
    with pytest.raises(StoreError, match="without precompute_online"):
        repository.feast.get_online_features(features=service, entity_rows=[{"item_id": "i7"}])
