"""`FeatureStore.materialize` by our engine: what Feast's own engine would have stored, and where it takes over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector.errors import StoreError

NOON = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
START, END = NOON - timedelta(days=1), NOON + timedelta(days=1)
KEYS = ["b", "a", "c"]

YAML = """\
project: shop
provider: local
registry: data/registry.db
offline_store:
  type: dask
online_store:
{online}
batch_engine:
  type: {engine}
entity_key_serialization_version: 3
"""
MILVUS = "  type: connector.stores.online.MilvusOnlineStore\n  uri: data/milvus.db"
SQLITE = "  type: sqlite\n  path: data/online.db"
ENGINE = "connector.stores.engine.ArrowComputeEngine"


def write_source(folder: Path, name: str, hour: int, keys: list[str], **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    rows = {
        "sku": keys,
        "v": pa.array([[hour, position] for position in range(len(keys))], pa.list_(pa.float64())),
        "price": pa.array([float(hour * 10 + position) for position in range(len(keys))]),
        "sizes": pa.array([[position, hour] for position in range(len(keys))], pa.list_(pa.int64())),
        "at": pa.array([NOON + timedelta(hours=hour)] * len(keys), pa.timestamp("us", "UTC")),
        **more,
    }
    pq.write_table(pa.table(rows), folder / f"{name}.parquet")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two files: one with all keys, one with a newer row of one of them and a column that the other lacks."""
    write_source(tmp_path / "parts", "one", 0, KEYS)
    write_source(tmp_path / "parts", "two", 2, ["a"], colour=["red"])
    return tmp_path / "parts"


def opened(
    folder: Path, parts: Path, online: str, engine: str, features: tuple[str, ...] = (), source: str = ""
) -> Any:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Array, Float32, Float64, Int64, String

    (folder / "data").mkdir(parents=True)
    (folder / "feature_store.yaml").write_text(YAML.format(online=online, engine=engine))
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
    vector = Field(
        name="vector", dtype=Array(Float32), vector_index=True, vector_length=2, vector_search_metric="COSINE"
    )
    extra = [Field(name=name, dtype=String) for name in features]
    view = FeatureView(
        name="items",
        entities=[item],
        ttl=timedelta(0),
        schema=[
            Field(name="item_id", dtype=String),
            vector,
            Field(name="price", dtype=Float64),
            Field(name="sizes", dtype=Array(Int64)),
            *extra,
        ],
        source=FileSource(
            name="parts",
            path=source or str(parts / "*.parquet"),
            timestamp_field="event",
            field_mapping={"sku": "item_id", "v": "vector", "at": "event"},
        ),
    )
    store = FeatureStore(repo_path=str(folder))
    store.apply([item, view])
    return store


@pytest.fixture
def stores() -> Iterator[list[Any]]:
    made: list[Any] = []
    yield made
    for store in made:
        store.teardown()


def answers(store: Any, *names: str) -> dict[str, list[Any]]:
    features = [f"items:{name}" for name in ("vector", "price", "sizes", *names)]
    rows = [{"item_id": key} for key in [*KEYS, "nobody"]]
    found: dict[str, list[Any]] = store.get_online_features(features=features, entity_rows=rows).to_dict()
    return found


@pytest.mark.filterwarnings("ignore:Downcasting object dtype:FutureWarning")  # in Feast's own engine
@pytest.mark.parametrize("engine", [ENGINE, "local"])
def test_materialize(tmp_path: Path, parts: Path, stores: list[Any], engine: str) -> None:
    stores.append(store := opened(tmp_path / "repository", parts, MILVUS, engine))
    store.materialize(START, NOON + timedelta(hours=1))
    assert answers(store)["price"] == [0.0, 1.0, 2.0, None]
    store.materialize_incremental(END)
    assert answers(store) == {
        "item_id": [*KEYS, "nobody"],
        "vector": [[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], None],
        "price": [0.0, 20.0, 2.0, None],
        "sizes": [[0, 0], [0, 2], [2, 0], None],
    }


def test_a_column_that_only_some_files_have(tmp_path: Path, parts: Path, stores: list[Any]) -> None:
    stores.append(store := opened(tmp_path / "repository", parts, MILVUS, ENGINE, ("colour",)))
    store.materialize(START, END)
    assert answers(store, "colour")["colour"] == [None, "red", None, None]


def test_other_stores_are_left_to_feast(tmp_path: Path, parts: Path, stores: list[Any]) -> None:
    stores.append(store := opened(tmp_path / "repository", parts, SQLITE, ENGINE))
    store.materialize(START, END)
    assert answers(store)["price"] == [0.0, 20.0, 2.0, None]


def test_one_line_for_what_does_not_fit(tmp_path: Path, parts: Path, stores: list[Any]) -> None:
    stores.append(store := opened(tmp_path / "repository", parts, MILVUS, ENGINE))
    write_source(parts, "two", 2, ["a"], v=pa.array([[1.0, 2.0, 3.0]]))
    with pytest.raises(StoreError, match=r"items__v1: row \d: vector 'vector' has 3 numbers, expected 2"):
        store.materialize(START, END)
    assert answers(store)["price"] == [None] * 4


def test_an_empty_source_is_no_success(tmp_path: Path, parts: Path, stores: list[Any]) -> None:
    stores.append(store := opened(tmp_path / "repository", parts, MILVUS, ENGINE))
    for path in parts.iterdir():
        path.rename(tmp_path / path.name)
    with pytest.raises(StoreError, match="there is no Parquet file to materialize"):
        store.materialize(START, END)
    assert not store.get_feature_view("items").materialization_intervals
    for path in tmp_path.glob("*.parquet"):
        path.rename(parts / path.name)
    store.materialize_incremental(END)
    assert answers(store)["price"] == [0.0, 20.0, 2.0, None]


@pytest.mark.filterwarnings("ignore:Downcasting object dtype:FutureWarning")  # in Feast's own engine
@pytest.mark.parametrize("engine", [ENGINE, "local"])
def test_files_in_folders_of_the_folder(tmp_path: Path, parts: Path, stores: list[Any], engine: str) -> None:
    (parts / "year=2026").mkdir()
    for path in parts.glob("*.parquet"):
        path.rename(parts / "year=2026" / path.name)
    stores.append(store := opened(tmp_path / "repository", parts, MILVUS, engine, source=str(parts)))
    store.materialize(START, END)
    assert answers(store)["price"] == [0.0, 20.0, 2.0, None]


def test_a_folder_with_hidden_files(tmp_path: Path, parts: Path, stores: list[Any]) -> None:
    for name in ("_SUCCESS", ".one.parquet.crc"):
        (parts / name).write_bytes(b"")
    stores.append(store := opened(tmp_path / "repository", parts, MILVUS, ENGINE, source=str(parts)))
    store.materialize(START, END)
    assert answers(store)["price"] == [0.0, 20.0, 2.0, None]
