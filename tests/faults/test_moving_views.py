"""A plain view that moves to another collection while others write to it, read it or have rows deleted from it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Float32, Int64, String

from connector.stores import MilvusEndpoint, MilvusVectorStore, writing
from connector.stores.filters import Filter, parse_filter
from connector.stores.online_update import drop_view, ensure_view
from connector.stores.specs import collection_spec_of_view
from connector.testing import MilvusServer
from connector.testing.rows import NOON

ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def view(*fields: str) -> FeatureView:
    return FeatureView(
        name="moving",
        entities=[ITEM],
        schema=[
            Field(name="item_id", dtype=String),
            *(Field(name=name, dtype=Int64) for name in fields),
            Field(name="look", dtype=Array(Float32), vector_index=True, vector_length=2, vector_search_metric="L2"),
        ],
        source=FileSource(name="moving_file", path="moving.parquet", timestamp_field="event_timestamp"),
    )


def apply(store: MilvusVectorStore, *fields: str) -> None:
    declared = view(*fields)
    ensure_view(store, declared, collection_spec_of_view(declared))


def rows(first: int, last: int, **columns: list[int | None]) -> pa.Table:
    keys = [f"k{number:04d}" for number in range(first, last)]
    values = columns or {"a": list(range(first, last))}
    events = pa.array([NOON] * len(keys), pa.timestamp("us", "UTC"))
    looks = pa.array([[float(number), 1.0] for number in range(first, last)], pa.list_(pa.float32(), 2))
    named = {name: pa.array(some, pa.int64()) for name, some in values.items()}
    return pa.table({"item_id": keys, **named, "look": looks, "event_timestamp": events})


@pytest.fixture(params=["lite", pytest.param("server", marks=pytest.mark.milvus_server)])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[MilvusVectorStore, MilvusVectorStore]]:
    """Two of one database, as two processes would have them."""
    uri = str(tmp_path / "milvus.db")
    if request.param == "server":
        server: MilvusServer = request.getfixturevalue("milvus_server")
        uri = server.uri
    endpoint = MilvusEndpoint(uri, consistency="Strong")
    with MilvusVectorStore(endpoint) as one, MilvusVectorStore(endpoint) as other:
        yield one, other
        drop_view(one, "moving")


def values(store: MilvusVectorStore, column: str, *keys: str) -> list[Any]:
    found: list[Any] = store.read("moving", pa.table({"item_id": list(keys)}), [column])[column].to_pylist()
    return found


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_written_while_it_moves_is_there_afterwards(
    stores: tuple[MilvusVectorStore, MilvusVectorStore], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The writer is held up between two batches, before or after the second is sent, until the view has moved."""
    applier, writer = stores
    apply(applier, "a")
    writer.write("moving", rows(0, 10))
    reached, go_on, send = threading.Event(), threading.Event(), writing.upsert
    carried = threading.Event()

    def held_up(session: Any, known: Any, columns: Any, chosen: Any) -> None:
        if session is not writer._session or known.name != "moving__v1":
            return send(session, known, columns, chosen)
        if when == "after":
            send(session, known, columns, chosen)
        reached.set()
        assert go_on.wait(60)
        return None if when == "after" else send(session, known, columns, chosen)

    def drop(name: str) -> None:
        carried.set()  # the rows of the last moment have been carried; the collection goes when its writer lets it
        go_on.set()
        MilvusVectorStore.drop(applier, name)

    monkeypatch.setattr(writing, "upsert", held_up)
    monkeypatch.setattr(applier, "drop", drop)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(writer.write("moving", rows(10, 60))))
    thread.start()
    assert reached.wait(60)
    apply(applier, "a", "b")
    go_on.set()
    thread.join(60)
    assert carried.is_set()
    assert [(result.written, result.stale) for result in results] in ([(50, 0)], [(0, 50)])
    assert [name for name in applier.list_collections() if name.startswith("moving")] == ["moving__v2"]
    assert applier.count("moving") == 60
    assert values(applier, "a", "k0009", "k0010", "k0059") == [9, 10, 59]


@pytest.mark.parametrize(("before", "after"), [(("b",), ("c", "b")), (("a", "b"), ("b",))], ids=["more", "fewer"])
def test_who_knew_the_earlier_collection_reads_the_same_nulls(
    stores: tuple[MilvusVectorStore, MilvusVectorStore], before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    applier, reader = stores
    apply(applier, *before)
    others = {name: [1, 1] for name in before if name != "b"}
    applier.write("moving", rows(0, 2, **others, b=[None, 5]))
    assert values(reader, "b", "k0000", "k0001") == [None, 5]
    apply(applier, *after)
    assert values(reader, "b", "k0000", "k0001") == [None, 5]


@pytest.mark.parametrize(("before", "after"), [(("b",), ("c", "b")), (("a", "b"), ("b",))], ids=["more", "fewer"])
def test_who_knew_the_earlier_collection_filters_the_same_rows(
    stores: tuple[MilvusVectorStore, MilvusVectorStore], before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    applier, reader = stores
    apply(applier, *before)
    others = {name: [1, 1] for name in before if name != "b"}
    applier.write("moving", rows(0, 2, **others, b=[None, 5]))
    wheres = [parse_filter(text, {"b": "int64"}) for text in ("b < 9", "b IS NULL")]

    def found(where: Filter) -> list[str]:
        keys: list[str] = reader.search("moving", [[0.0, 1.0]], 10, where=where)["item_id"].to_pylist()
        return keys

    assert [found(where) for where in wheres] == [["k0001"], ["k0000"]]
    apply(applier, *after)
    assert [found(where) for where in wheres] == [["k0001"], ["k0000"]]


def test_a_deletion_while_it_moves_holds(
    stores: tuple[MilvusVectorStore, MilvusVectorStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is deleted after it was carried and before the alias moves."""
    applier, other = stores
    apply(applier, "a")
    applier.write("moving", rows(0, 4))
    move, deleted = applier.set_alias, threading.Event()

    def set_alias(alias: str, collection: str) -> None:
        thread.start()
        assert sent.wait(60)
        move(alias, collection)
        deleted.set()

    sent = threading.Event()
    change = other._delete

    def delete(known: Any, keys: pa.Table) -> int:
        count = change(known, keys)
        sent.set()
        assert deleted.wait(60)
        return count

    monkeypatch.setattr(other, "_delete", delete)
    thread = threading.Thread(target=lambda: other.delete("moving", pa.table({"item_id": ["k0001"]})))
    monkeypatch.setattr(applier, "set_alias", set_alias)
    apply(applier, "a", "b")
    thread.join(60)
    assert applier.count("moving") == 3
    assert values(applier, "a", "k0000", "k0001") == [0, None]
