"""Changed views through Feast's own apply: plain views carry their rows over, spaces are told what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Array, Float32, Float64, Int64, String

from connector.errors import SchemaMismatchError
from connector.spaces import embedding_view
from connector.stores import MilvusVectorStore
from connector.stores.online import MilvusOnlineStore
from encoders.contract import external_contract

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
CLICKS, RATE, NOTE = (
    Field(name=name, dtype=kind) for name, kind in (("clicks", Int64), ("rate", Float32), ("note", String))
)


def plain(name: str, fields: Sequence[Field], **settings: Any) -> FeatureView:
    source = FileSource(name=f"{name}_file", path=f"data/{name}.parquet", timestamp_field="event_timestamp")
    key = Field(name="item_id", dtype=String)
    return FeatureView(name=name, entities=[ITEM], schema=[key, *fields], source=source, **settings)


@pytest.fixture(scope="module")
def feast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    path = tmp_path_factory.mktemp("schema")
    config = RepoConfig(
        project="shop",
        provider="local",
        registry=str(path / "registry.db"),
        online_store={"type": "connector.stores.online.MilvusOnlineStore", "uri": "milvus.db"},
        offline_store={"type": "dask"},
        entity_key_serialization_version=3,
        repo_path=path,
    )
    store = FeatureStore(config=config)
    yield store
    store.teardown()
    asyncio.run(store._get_provider().online_store.close())


def beneath(feast: FeatureStore) -> MilvusVectorStore:
    online = feast._get_provider().online_store
    assert isinstance(online, MilvusOnlineStore)
    return online.vector_store(feast.config)


def write(feast: FeatureStore, name: str, event: datetime = NOW, **columns: Sequence[Any]) -> None:
    count = len(next(iter(columns.values())))
    keys = [f"i{number}" for number in range(count)]
    feast.write_to_online_store(name, df=pd.DataFrame({"item_id": keys, "event_timestamp": [event] * count, **columns}))


def read(feast: FeatureStore, name: str, features: Sequence[str], count: int) -> dict[str, list[Any]]:
    rows = [{"item_id": f"i{number}"} for number in range(count)]
    answer = feast.get_online_features(
        features=[f"{name}:{feature}" for feature in features], entity_rows=rows
    ).to_dict()
    return {feature: answer[feature] for feature in features}


def test_a_plain_view_takes_its_rows_along(feast: FeatureStore) -> None:
    feast.apply([ITEM, plain("stats", [CLICKS, RATE])])
    write(feast, "stats", clicks=[1, 2, 3], rate=[0.5, 0.25, None])
    feast.apply([ITEM, plain("stats", [CLICKS, NOTE])])
    assert read(feast, "stats", ["clicks", "note"], 4) == {"clicks": [1, 2, 3, None], "note": [None] * 4}
    assert beneath(feast).resolve_alias("stats") == "stats__v2"
    assert "stats__v1" not in beneath(feast).list_collections()
    write(feast, "stats", NOW - timedelta(days=1), clicks=[9], note=["older"])
    write(feast, "stats", NOW + timedelta(days=1), clicks=[9], note=["newer"])
    assert read(feast, "stats", ["clicks", "note"], 2) == {"clicks": [9, 2], "note": ["newer", None]}


def test_numbers_widen_and_nothing_is_moved_twice(feast: FeatureStore) -> None:
    feast.apply([ITEM, plain("widened", [CLICKS])])
    write(feast, "widened", clicks=[2**40, None])
    wider = plain("widened", [Field(name="clicks", dtype=Float64)])
    for _ in range(2):
        feast.apply([ITEM, wider])
        assert beneath(feast).resolve_alias("widened") == "widened__v2"
    assert read(feast, "widened", ["clicks"], 2) == {"clicks": [float(2**40), None]}


def test_what_only_feast_sees_is_no_change_of_shape(feast: FeatureStore) -> None:
    feast.apply([ITEM, plain("tagged", [CLICKS, RATE])])
    write(feast, "tagged", clicks=[1], rate=[0.5])
    feast.apply([ITEM, plain("tagged", [RATE, CLICKS], tags={"team": "search"}, ttl=timedelta(days=9999))])
    assert beneath(feast).resolve_alias("tagged") == "tagged__v1"
    assert read(feast, "tagged", ["clicks", "rate"], 1) == {"clicks": [1], "rate": [0.5]}


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (CLICKS, Field(name="clicks", dtype=String), "clicks is int64 there and string declared"),
        (Field(name="tags", dtype=Array(String)), Field(name="tags", dtype=Array(Int64)), r"tags is Array\(String\)"),
    ],
)
def test_what_cannot_be_carried_over_is_refused_and_stays(
    feast: FeatureStore, first: Field, then: Field, said: str
) -> None:
    name = f"refused_{first.name}"
    feast.apply([ITEM, plain(name, [first])])
    value = ["a"] if first.name == "tags" else 7
    write(feast, name, **{first.name: [value]})
    with pytest.raises(SchemaMismatchError, match=said) as caught:
        feast.apply([ITEM, plain(name, [then])])
    assert "another name" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert beneath(feast).resolve_alias(name) == f"{name}__v1"
    feast.apply([ITEM, plain(name, [first])])
    assert read(feast, name, [first.name], 1) == {first.name: [value]}


def test_a_changed_type_of_an_empty_view_is_simply_had(feast: FeatureStore) -> None:
    feast.apply([ITEM, plain("empty", [CLICKS])])
    feast.apply([ITEM, plain("empty", [Field(name="clicks", dtype=String)])])
    write(feast, "empty", clicks=["many"])
    assert read(feast, "empty", ["clicks"], 1) == {"clicks": ["many"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dimension": 8, "version": 2}, "connector apply"),
        ({"dimension": 8, "version": 1}, "look__v1"),
        ({"fields": [CLICKS]}, "clicks .int64. is new"),
        ({"fields": [CLICKS], "revision": 2}, "connector promote look"),
        ({"metric": "L2", "version": 1}, "look__v1"),
    ],
    ids=["encoder", "dimension", "field", "revision", "metric"],
)
def test_a_changed_space_is_refused_with_the_remedy(feast: FeatureStore, changes: dict[str, Any], said: str) -> None:
    first = space()
    feast.apply([ITEM, first])
    frame = pd.DataFrame({"item_id": ["i0"], "look_embedding": [[1.0, 0, 0, 0]], "event_timestamp": [NOW]})
    feast.write_to_online_store("look", df=frame.assign(created_timestamp=NOW))
    with pytest.raises(SchemaMismatchError, match=said):
        feast.apply([ITEM, space(**changes)])
    assert beneath(feast).resolve_alias("look") == "look__v1"
    assert beneath(feast).count("look") == 1
    feast.apply([ITEM, first])


def space(*, fields: Sequence[Field] = (), revision: int = 1, **contract: Any) -> FeatureView:
    settings = {"version": 1, "dimension": 4, "modality": "image", "metric": "COSINE", **contract}
    return embedding_view(
        "look",
        entity=ITEM,
        contract=external_contract("ext", **settings),
        vectors="vector",
        fields=fields,
        revision=revision,
    )
