"""Newest wins at the price of few reads: how many calls of Milvus a write makes, by what is known beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from connector.stores import MilvusEndpoint, MilvusVectorStore, recency
from connector.testing.rows import NOON, shop_rows, shop_spec

SPEC = shop_spec("items__v1")
HOUR = timedelta(hours=1)
KEYS = [f"k{number}" for number in range(50)]


@pytest.fixture
def place(tmp_path: Path) -> MilvusEndpoint:
    return MilvusEndpoint(str(tmp_path / "milvus.db"), state_folder=tmp_path / "state")


@pytest.fixture
def store(place: MilvusEndpoint) -> Iterator[MilvusVectorStore]:
    with MilvusVectorStore(place) as store:
        store.create(SPEC)
        yield store


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recency, "TRUSTED_S", 3600.0)


def write(store: MilvusVectorStore, hours: float, keys: list[str] = KEYS) -> tuple[int, list[tuple[str, str]]]:
    """Rows written, and the reads it took: expression and consistency of each."""
    client = store._opened().client
    asked: list[tuple[str, str]] = []
    query = client.query

    def counting(name: str, *, filter: str, consistency_level: str, **options: Any) -> Any:
        asked.append((filter, consistency_level))
        return query(name, filter=filter, consistency_level=consistency_level, **options)

    client.query = counting
    try:
        written = store.write(SPEC.name, shop_rows(keys, event=NOON + hours * HOUR, title=[str(hours)] * len(keys)))
    finally:
        del client.query
    return written.written, asked


@pytest.mark.usefixtures("trusting")
def test_newer_and_newer_rows_are_written_without_a_read(store: MilvusVectorStore, place: MilvusEndpoint) -> None:
    assert [write(store, hours) for hours in range(4)] == [(50, [])] * 4
    assert write(store, 3) == (50, [])
    with MilvusVectorStore(place) as other:
        assert write(other, 4) == (50, [])
    assert write(store, 5) == (50, [])


def test_one_small_read_where_the_last_answer_is_old(store: MilvusVectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recency, "TRUSTED_S", 0.0)
    written, asked = write(store, 0)
    assert (written, [level for _, level in asked]) == (50, ["Eventually"])
    assert "_event_ts >" in asked[0][0]
    assert "_key in" not in asked[0][0]


@pytest.mark.usefixtures("trusting")
def test_older_rows_are_compared_with_those_of_their_keys(store: MilvusVectorStore) -> None:
    write(store, 2, KEYS[:10])
    written, asked = write(store, 1)
    assert (written, [level for _, level in asked]) == (40, ["Strong"])
    assert asked[0][0].startswith("_key in")
    assert write(store, 3) == (50, [])


@pytest.mark.usefixtures("trusting")
def test_a_lost_record_costs_one_read_and_is_made_again(store: MilvusVectorStore, place: MilvusEndpoint) -> None:
    write(store, 5)
    assert place.state_folder is not None
    for file in place.state_folder.glob("*.json"):
        file.unlink()
    written, asked = write(store, 6)
    assert (written, [level for _, level in asked]) == (50, ["Strong"])
    assert write(store, 7) == (50, [])


@pytest.mark.usefixtures("trusting")
def test_older_rows_where_nothing_is_known(store: MilvusVectorStore, place: MilvusEndpoint) -> None:
    write(store, 5, KEYS[:20])
    assert place.state_folder is not None
    for file in place.state_folder.glob("*.json"):
        file.unlink()
    written, asked = write(store, 4)
    assert (written, [level for _, level in asked]) == (30, ["Strong", "Strong"])
    assert not list(place.state_folder.glob("*.json")), "how new the stored rows are is still not known"
    assert write(store, 6)[0] == 50


@pytest.mark.usefixtures("trusting")
def test_a_row_from_the_future_costs_a_read_for_each_write_and_no_row(store: MilvusVectorStore) -> None:
    write(store, 9_999_999, ["ahead"])
    for hours in (1, 2):
        written, asked = write(store, hours)
        assert (written, [level for _, level in asked]) == (50, ["Strong"])
    assert store.read(SPEC.name, pa.table({"item_id": ["ahead", "k0"]}), ["title"]).column("title").to_pylist() == [
        "9999999",
        "2",
    ]


@pytest.mark.usefixtures("trusting")
def test_stale_rows_alone_are_not_sent_and_leave_the_record(store: MilvusVectorStore) -> None:
    write(store, 5)
    assert write(store, 1)[0] == 0
    assert write(store, 6) == (50, [])


@pytest.mark.usefixtures("trusting")
def test_a_collection_made_anew_is_not_held_to_the_old_ones_record(store: MilvusVectorStore) -> None:
    write(store, 9)
    store.drop(SPEC.name)
    store.create(SPEC)
    assert write(store, 1) == (50, [])
