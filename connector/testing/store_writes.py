"""The vector-store suite on writing and reading: types, hostile strings, bad rows, event time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from connector.errors import BadRowsError, StoreError
from connector.stores.base import CollectionSpec, VectorStore
from connector.stores.filters import parse_filter
from connector.stores.layout import filter_types
from connector.testing.rows import (
    DIMENSION,
    FIELDS,
    HOSTILE,
    NOON,
    mixed_rows,
    shop_rows,
    some_vectors,
)
from connector.testing.store_fixtures import Make, StoreFixtures

HOUR = timedelta(hours=1)


class WriteTests(StoreFixtures):
    """What goes in comes out, and the newest event wins."""

    def test_every_type_comes_back_as_it_went_in(self, store: VectorStore, notes: CollectionSpec) -> None:
        keys = [f"types{row}" for row in range(6)]
        rows = shop_rows(
            keys,
            vectors=some_vectors(6, seed=3),
            event=[NOON + timedelta(microseconds=row) for row in range(6)],
            title=["", None, "日本語 \U0001f457", "x" * 65_535, "a\nb\\'\"", "null"],
            price=[0.0, None, -0.1, 1e300, 5e-324, 123456789.123456789],
            stock=[0, None, -(2**63), 2**63 - 1, 1, -1],
            sold=[False, None, True, False, True, False],
            seen=[NOON, None, NOON + timedelta(microseconds=1), NOON - 20_000 * 24 * HOUR, NOON, NOON],
            raw=[b"", None, bytes(range(256)), b"\x00" * 40_000, b"a", b"b"],
        )
        assert store.write(notes.name, rows).written == 6
        columns = ["item_id", *(field.name for field in FIELDS), "embedding"]
        found = store.read(notes.name, rows.select(["item_id"]), columns)
        assert found.column_names == [*columns, "event_timestamp"]
        assert found.to_pylist() == rows.select(found.column_names).to_pylist()

    def test_read_keeps_the_order_asked(self, store: VectorStore, shop: CollectionSpec) -> None:
        asked = ["i7", "nobody", "i3", "i7", "i0"]
        found = store.read(shop.name, pa.table({"item_id": asked}), ["item_id", "stock"])
        assert found.column("item_id").to_pylist() == ["i7", None, "i3", "i7", "i0"]
        stock = dict(zip(*(mixed_rows().column(name).to_pylist() for name in ("item_id", "stock")), strict=True))
        assert found.column("stock").to_pylist() == [stock.get(key) for key in asked]
        assert found.column("event_timestamp").null_count == 1

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_hostile_strings(self, store: VectorStore, notes: CollectionSpec, text: str) -> None:
        key = f"hostile {text}"
        store.write(notes.name, shop_rows([key, f"other {text}"], title=[text, "plain"]))
        keys = pa.table({"item_id": [key]})
        assert store.read(notes.name, keys, ["title"]).column("title").to_pylist() == [text]
        quoted, named = text.replace("'", "''"), key.replace("'", "''")
        for condition in (
            f"item_id = '{named}' AND title = '{quoted}'",
            f"item_id IN ('{named}') AND title IN ('{quoted}')",
            f"item_id LIKE '{named.replace('!', '!!').replace('%', '!%').replace('_', '!_')}%' ESCAPE '!'"
            f" AND title <> 'plain'",
        ):
            where = parse_filter(condition, filter_types(notes))
            found = store.search(notes.name, some_vectors(1), 100, where=where).column("item_id").to_pylist()
            assert (found == [key]) if text.strip() else (key in found)
        store.delete(notes.name, pa.table({"item_id": [key, f"other {text}"]}))
        assert store.read(notes.name, keys, []).column("event_timestamp").to_pylist() == [None]

    def test_rows_that_cannot_be_held(self, store: VectorStore, notes: CollectionSpec) -> None:
        before = store.count(notes.name)
        vectors = some_vectors(4)
        vectors[2, 1] = np.nan
        vectors[3, 0] = np.inf
        with pytest.raises(BadRowsError) as error:
            store.write(
                notes.name, shop_rows(["ok", None, "nan", "inf"], vectors=vectors, title=["x" * 70_000, *"abc"])
            )
        assert sorted(error.value.rows) == [0, 1, 2, 3]
        assert "title" in error.value.rows[0]
        assert "\n" not in str(error.value)
        with pytest.raises(BadRowsError, match="embedding"):
            store.write(notes.name, shop_rows(["short"], vectors=np.ones((1, DIMENSION - 1), np.float32)))
        rows = shop_rows(["a", "b"])
        null = pa.array([[1.0] * DIMENSION, None], pa.list_(pa.float32()))
        with pytest.raises(BadRowsError) as error:
            store.write(notes.name, rows.set_column(rows.column_names.index("embedding"), "embedding", null))
        assert list(error.value.rows) == [1]
        assert store.count(notes.name) == before

    def test_tables_that_do_not_fit(self, store: VectorStore, notes: CollectionSpec) -> None:
        rows = shop_rows(["a"])
        price, vector = rows.column_names.index("price"), rows.column_names.index("embedding")
        for table in (
            rows.drop_columns(["price"]),
            rows.drop_columns(["item_id"]),
            rows.drop_columns(["embedding"]),
            rows.drop_columns(["event_timestamp"]),
            rows.append_column("surprise", pa.array([1])),
            rows.set_column(price, "price", pa.array(["cheap"])),
            rows.set_column(vector, "embedding", pa.array(["vector"])),
        ):
            with pytest.raises(StoreError, match=notes.name):
                store.write(notes.name, table)

    def test_nothing_to_do(self, store: VectorStore, shop: CollectionSpec) -> None:
        result = store.write(shop.name, mixed_rows().slice(0, 0))
        assert (result.written, result.stale) == (0, 0)
        none = pa.table({"item_id": pa.array([], pa.string())})
        assert store.read(shop.name, none, ["price"]).num_rows == 0
        assert store.delete(shop.name, none) == 0
        found = store.search(shop.name, np.zeros((0, DIMENSION), np.float32), 3, columns=["price"])
        assert found.num_rows == 0
        assert found.column_names == ["query", "item_id", "distance", "price"]

    def test_many_rows_in_one_write(self, store: VectorStore, make: Make) -> None:
        spec = make()
        keys = [f"k{row}" for row in range(5_000)]
        titles = [f"{'long ' * (row % 200)}{row}" for row in range(5_000)]
        store.write(spec.name, shop_rows(keys, title=titles))
        assert store.count(spec.name) == 5_000
        asked = keys[::-1][:2_500]
        found = store.read(spec.name, pa.table({"item_id": asked}), ["title"]).column("title").to_pylist()
        assert found == titles[::-1][:2_500]

    def test_an_older_event_never_replaces_a_newer_one(self, store: VectorStore, notes: CollectionSpec) -> None:
        keys = ["time a", "time b"]

        def write(title: str, event: Any, created: Any = None) -> tuple[int, int]:
            result = store.write(notes.name, shop_rows(keys, event=event, created=created, title=[title] * 2))
            return result.written, result.stale

        def titles() -> list[str]:
            found: list[str] = (
                store.read(notes.name, pa.table({"item_id": keys}), ["title"]).column("title").to_pylist()
            )
            return found

        assert write("second", NOON) == (2, 0)
        assert write("first", NOON - HOUR) == (0, 2)
        assert titles() == ["second"] * 2
        assert write("third", [NOON + HOUR, NOON - HOUR]) == (1, 1)
        assert titles() == ["third", "second"]
        assert write("again", NOON + HOUR) == (2, 0)
        assert titles() == ["again"] * 2
        assert write("created", NOON + HOUR, NOON) == (2, 0)
        assert write("without", NOON + HOUR) == (0, 2)
        assert write("created before", NOON + HOUR, NOON - HOUR) == (0, 2)
        assert titles() == ["created"] * 2
        assert write("created after", NOON + HOUR, NOON + HOUR) == (2, 0)
        assert titles() == ["created after"] * 2

    def test_the_newest_row_of_a_table_wins(self, store: VectorStore, notes: CollectionSpec) -> None:
        events = [NOON, NOON + HOUR, NOON - HOUR, NOON + HOUR]
        result = store.write(
            notes.name, shop_rows(["table"] * 4, event=events, title=["noon", "later", "before", "later again"])
        )
        assert (result.written, result.stale) == (1, 3)
        found = store.read(notes.name, pa.table({"item_id": ["table"]}), ["title"])
        assert found.to_pylist() == [{"title": "later again", "event_timestamp": NOON + HOUR}]

    @pytest.mark.parametrize("seed", range(2))
    def test_the_newest_wins_in_whatever_order_rows_arrive(self, store: VectorStore, make: Make, seed: int) -> None:
        spec, random = make(), np.random.default_rng(seed)
        keys = [f"k{number}" for number in range(4)]
        moments = [(event, created) for event in range(3) for created in (None, 0, 2)]
        rows = [(key, *moment) for key in keys for moment in moments]
        expected: dict[str, tuple[int, int]] = {}
        order = [rows[place] for place in random.permutation(np.repeat(np.arange(len(rows)), 2))]
        while order:
            some = [order.pop() for _ in range(min(len(order), int(random.integers(1, 20))))]
            for key, event, created in some:
                expected[key] = max(expected.get(key, (-1, -9)), (event, -9 if created is None else created))
            result = store.write(
                spec.name,
                shop_rows(
                    [key for key, _, _ in some],
                    event=[NOON + event * HOUR for _, event, _ in some],
                    created=[None if created is None else NOON + created * HOUR for *_, created in some],
                    title=[f"{event} {-9 if created is None else created}" for _, event, created in some],
                ),
            )
            assert result.written + result.stale == len(some)
            present = sorted(expected)
            found = store.read(spec.name, pa.table({"item_id": present}), ["title"]).column("title").to_pylist()
            assert found == [f"{expected[key][0]} {expected[key][1]}" for key in present]
        assert store.count(spec.name) == len(keys)

    def test_a_clock_that_is_wrong(self, store: VectorStore, make: Make) -> None:
        """One row from far in the future keeps nobody else out; created times decide between equal events only."""
        spec, future = make(), NOON + 900 * 365 * 24 * HOUR

        def write(key: str, title: str, event: Any, created: Any) -> int:
            return store.write(spec.name, shop_rows([key], event=event, created=created, title=[title])).written

        assert write("ahead", "future", future, future) == 1
        assert write("other", "now", NOON, NOON) == 1
        assert write("ahead", "now", NOON, NOON) == 0
        assert write("other", "later, created before", NOON + HOUR, NOON - 9 * HOUR) == 1
        assert write("other", "later, created still before", NOON + HOUR, NOON - 10 * HOUR) == 0
        assert write("other", "before, created later", NOON, NOON + 9 * HOUR) == 0
        assert write("ahead", "further", future + HOUR, NOON) == 1
        found = store.read(spec.name, pa.table({"item_id": ["ahead", "other"]}), ["title"]).column("title").to_pylist()
        assert found == ["further", "later, created before"]

    def test_a_deleted_row_stands_in_nobodys_way(self, store: VectorStore, notes: CollectionSpec) -> None:
        key = pa.table({"item_id": ["gone"]})
        store.write(notes.name, shop_rows(["gone"], event=NOON + 9 * HOUR))
        assert store.delete(notes.name, key) == 1
        assert store.write(notes.name, shop_rows(["gone"], event=NOON)).written == 1
        assert store.read(notes.name, key, []).column("event_timestamp").to_pylist() == [NOON]
