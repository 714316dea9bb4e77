"""Behaviour of a vector store. A store's whole test is

    class TestMyStore(VectorStoreSuite):
        @pytest.fixture(scope="class")
        @classmethod
        def store(cls): ...

A gap is a test overridden with a strict xfail and its reason, so that closing it fails the suite until the mark goes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from connector.errors import BadRowsError, FilterError, QueryError, SchemaMismatchError, StoreError
from connector.stores.base import CollectionSpec, ScalarField, VectorStore
from connector.stores.filters import parse_filter, to_arrow
from connector.stores.layout import filter_types
from connector.testing.rows import (
    DIMENSION,
    FIELDS,
    HOSTILE,
    NOON,
    TIME,
    mixed_rows,
    nearest,
    shop_rows,
    shop_spec,
    some_vectors,
)

Make = Callable[..., CollectionSpec]
HOUR = timedelta(hours=1)

FILTERS = (
    "price < 50",
    "price <= 0 OR price > 1000",
    "NOT price < 50",
    "price <> 0.1",
    "price = 0",
    "0 < price",
    "stock = 0",
    "stock < 1.5",
    "stock = 1.5",
    "NOT stock = 1.5",
    "stock IN (0, 1, NULL)",
    "stock NOT IN (0, 1)",
    "stock NOT IN (0, NULL)",
    "stock BETWEEN -1 AND 2",
    "NOT stock BETWEEN -1 AND 2",
    "stock >= -9223372036854775808",
    "stock < 99999999999999999999",
    "sold",
    "NOT sold",
    "sold = FALSE",
    "sold IS NOT TRUE",
    "title = 'red dress'",
    "title <> 'red dress'",
    "title > 'm'",
    "title = ''",
    "title <> ''",
    "title LIKE 'red%'",
    "title NOT LIKE 'red%'",
    "title LIKE '50!% off!_%' ESCAPE '!'",
    "title LIKE '%'",
    "title IS NULL",
    "title IS NOT NULL AND price IS NULL",
    "seen >= '2026-03-01T12:00:00Z'",
    "seen < TIMESTAMP '2026-03-01 12:00:00'",
    "seen = '2026-03-02 13:00:00+01:00'",
    "event_timestamp < '2026-03-02'",
    "item_id IN ('i3', 'i50', 'nobody')",
    "item_id IS NULL",
    "item_id IS NOT NULL AND stock > 0",
    "NOT (price < 50 AND (sold OR title = 'scarf'))",
    "NOT (price IS NULL OR NOT stock > 0)",
    "TRUE",
    "FALSE",
    "price < 50 AND NULL",
    "price < 50 OR TRUE",
)


class VectorStoreSuite:
    """Tests of the `VectorStore` contract; a subclass gives the `store` fixture, of class scope."""

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls) -> Iterator[VectorStore]:
        """An open store with no collections of the names used here."""
        raise NotImplementedError("give a class-scoped fixture `store`")

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, store: VectorStore) -> Iterator[Make]:
        """Makes a collection of its own for a test; all are dropped at the end."""
        made: list[str] = []
        numbers = itertools.count(1)

        def create(**changes: Any) -> CollectionSpec:
            spec = replace(shop_spec(f"suite_{next(numbers)}__v1"), **changes)
            store.drop(spec.name)
            made.append(spec.name)
            store.create(spec)
            return spec

        yield create
        for name in made:
            store.drop(name)

    @pytest.fixture(scope="class")
    @classmethod
    def shop(cls, store: VectorStore, make: Make) -> CollectionSpec:
        """A collection that holds `mixed_rows()`; only read."""
        spec = make()
        store.write(spec.name, mixed_rows())
        return spec

    @pytest.fixture(scope="class")
    @classmethod
    def notes(cls, make: Make) -> CollectionSpec:
        """A collection that tests write keys of their own into."""
        return make()

    # Collections and aliases

    def test_create_is_described_and_repeatable(self, store: VectorStore, make: Make) -> None:
        spec = make()
        assert store.describe(spec.name) == spec
        assert spec.name in store.list_collections()
        store.write(spec.name, shop_rows(["a"]))
        store.create(spec)
        assert store.count(spec.name) == 1

    def test_another_shape_is_refused(self, store: VectorStore, shop: CollectionSpec) -> None:
        assert shop.vector is not None
        changed = [
            replace(shop, contract_hash="f" * 16),
            replace(shop, fields=shop.fields[1:]),
            replace(shop, fields=(ScalarField("title", "opaque"), *shop.fields[1:])),
            replace(shop, keys=(ScalarField("item_id", "int64"),)),
            replace(shop, vector=replace(shop.vector, dimension=DIMENSION + 1)),
            replace(shop, vector=replace(shop.vector, metric="L2")),
            replace(shop, vector=None),
        ]
        for spec in changed:
            with pytest.raises(SchemaMismatchError, match=shop.name):
                store.create(spec)
        assert store.describe(shop.name) == shop

    def test_what_is_absent(self, store: VectorStore) -> None:
        name = "suite_absent__v1"
        assert store.describe(name) is None
        assert store.resolve_alias(name) is None
        store.drop(name)
        for call in (
            lambda: store.count(name),
            lambda: store.write(name, shop_rows(["a"])),
            lambda: store.read(name, pa.table({"item_id": ["a"]}), ["title"]),
            lambda: store.search(name, some_vectors(1), 1),
            lambda: store.delete(name, pa.table({"item_id": ["a"]})),
            lambda: store.set_alias("suite_alias", name),
        ):
            with pytest.raises(StoreError, match=name):
                call()

    def test_alias_moves_in_one_step_and_goes_with_its_collection(self, store: VectorStore, make: Make) -> None:
        first, second = make(), make()
        store.write(first.name, shop_rows(["one"]))
        store.write(second.name, shop_rows(["two"]))
        for spec, key in ((first, "one"), (first, "one"), (second, "two")):
            store.set_alias("suite_moving", spec.name)
            assert store.resolve_alias("suite_moving") == spec.name
            assert store.search("suite_moving", some_vectors(1), 5).column("item_id").to_pylist() == [key]
            assert store.describe("suite_moving") == spec
        assert store.resolve_alias(first.name) is None
        store.drop(second.name)
        assert store.resolve_alias("suite_moving") is None
        store.set_alias("suite_moving", first.name)
        assert store.count("suite_moving") == 1

    def test_names_that_a_server_would_refuse(self, store: VectorStore) -> None:
        for name in ("", "a-b", "1a", "a b", 'a"b', "é", "a" * 300):
            with pytest.raises(StoreError):
                store.create(shop_spec(name))

    # Write and read

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

    # Event time

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

    def test_a_deleted_row_stands_in_nobodys_way(self, store: VectorStore, notes: CollectionSpec) -> None:
        key = pa.table({"item_id": ["gone"]})
        store.write(notes.name, shop_rows(["gone"], event=NOON + 9 * HOUR))
        assert store.delete(notes.name, key) == 1
        assert store.write(notes.name, shop_rows(["gone"], event=NOON)).written == 1
        assert store.read(notes.name, key, []).column("event_timestamp").to_pylist() == [NOON]

    # Search

    @pytest.mark.parametrize("metric", ["COSINE", "IP", "L2"])
    def test_search_is_exact_at_small_size(self, store: VectorStore, make: Make, metric: Any) -> None:
        base = shop_spec("unused", metric)
        spec = make(vector=base.vector)
        vectors, queries = some_vectors(200, seed=1), some_vectors(5, seed=2)
        store.write(spec.name, shop_rows([str(row) for row in range(200)], vectors=vectors))
        found = store.search(spec.name, queries, 10, columns=["embedding"], params={"ef": 200})
        assert found.column("query").to_pylist() == [query for query in range(5) for _ in range(10)]
        for query in range(5):
            exact = nearest(metric, vectors, queries[query])
            order = np.argsort(exact if metric == "L2" else -exact)[:10]
            hits = found.slice(query * 10, 10)
            assert hits.column("item_id").to_pylist() == [str(row) for row in order]
            np.testing.assert_allclose(hits.column("distance").to_numpy(), exact[order], rtol=1e-4, atol=1e-4)
            stored = np.array(hits.column("embedding").to_pylist(), np.float32)
            np.testing.assert_array_equal(stored, vectors[order])

    def test_more_hits_asked_than_rows(self, store: VectorStore, shop: CollectionSpec) -> None:
        found = store.search(shop.name, some_vectors(2), 1_000, columns=["title", "price", "raw"])
        assert found.num_rows == 2 * mixed_rows().num_rows
        rows = {row["item_id"]: row for row in mixed_rows().to_pylist()}
        for hit in found.to_pylist():
            assert {name: hit[name] for name in ("title", "price", "raw")} == {
                name: rows[hit["item_id"]][name] for name in ("title", "price", "raw")
            }

    def test_queries_that_make_no_sense(self, store: VectorStore, shop: CollectionSpec) -> None:
        bad = some_vectors(1)
        bad[0, 0] = np.nan
        for vectors in (bad, some_vectors(1)[:, :-1], some_vectors(1)[0], [["a"] * DIMENSION], [[1.0], [1.0, 2.0]]):
            with pytest.raises(QueryError):
                store.search(shop.name, vectors, 3)
        for k in (0, -1, 16_385, 1.5, True):
            with pytest.raises(QueryError):
                store.search(shop.name, some_vectors(1), k)  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="no column 'colour'"):
            store.search(shop.name, some_vectors(1), 3, columns=["colour"])

    @pytest.mark.parametrize("condition", FILTERS)
    def test_filters_select_what_sql_selects(self, store: VectorStore, shop: CollectionSpec, condition: str) -> None:
        self.check_filter(store, shop, condition)

    @pytest.mark.parametrize(
        "condition", ["title LIKE '%dress'", "title NOT LIKE '%e%'", "title LIKE '%!%%' ESCAPE '!'"]
    )
    def test_filters_with_suffix_and_infix_patterns(
        self, store: VectorStore, shop: CollectionSpec, condition: str
    ) -> None:
        self.check_filter(store, shop, condition)

    def check_filter(self, store: VectorStore, shop: CollectionSpec, condition: str) -> None:
        """The store selects the rows that Arrow selects from the table that was written."""
        where = parse_filter(condition, filter_types(shop))
        expected = mixed_rows().filter(to_arrow(where)).column("item_id").to_pylist()
        found = store.search(shop.name, some_vectors(1), 1_000, where=where)
        assert sorted(found.column("item_id").to_pylist()) == sorted(expected)

    def test_a_filter_of_another_collection_is_refused(self, store: VectorStore, shop: CollectionSpec) -> None:
        where = parse_filter("colour = 'red'", {"colour": "string"})
        with pytest.raises(FilterError, match="colour"):
            store.search(shop.name, some_vectors(1), 3, where=where)

    # Other shapes

    def test_integer_and_compound_keys(self, store: VectorStore, make: Make) -> None:
        keys = (ScalarField("shop", "int64"), ScalarField("sku", "string"))
        spec = make(keys=keys)
        rows = shop_rows(["unused"] * 3).drop_columns(["item_id"])
        table = rows.append_column("shop", pa.array([1, -2, 1])).append_column("sku", pa.array(['a"', "a", "[1]"]))
        store.write(spec.name, table)
        asked = pa.table({"shop": pa.array([-2, 1, 1, 9]), "sku": ["a", "[1]", 'a"', "a"]})
        found = store.read(spec.name, asked, ["shop", "sku"]).select(["shop", "sku"]).to_pylist()
        assert found == [*asked.slice(0, 3).to_pylist(), {"shop": None, "sku": None}]
        where = parse_filter("shop < 0 OR sku = '[1]'", filter_types(spec))
        hits = store.search(spec.name, some_vectors(1), 10, where=where)
        assert hits.column_names == ["query", "shop", "sku", "distance"]
        assert sorted(hits.column("shop").to_pylist()) == [-2, 1]
        assert store.delete(spec.name, asked) == 4
        assert store.count(spec.name) == 0

    def test_a_view_without_a_vector(self, store: VectorStore, make: Make) -> None:
        spec = make(keys=(ScalarField("user_id", "int64"),), vector=None, contract_hash="")
        rows = shop_rows(["x", "y"], title=["a", None]).drop_columns(["item_id", "embedding"])
        store.write(spec.name, rows.append_column("user_id", pa.array([2**40, -1])))
        found = store.read(spec.name, pa.table({"user_id": [-1, 2**40]}), ["title"])
        assert found.column("title").to_pylist() == [None, "a"]
        with pytest.raises(QueryError, match="no vector"):
            store.search(spec.name, some_vectors(1), 3)

    def test_field_names_that_are_words_of_a_filter_language(self, store: VectorStore, make: Make) -> None:
        names = ("like", "avg-price", "_has_title", "größe", "title", "true")
        spec = make(fields=tuple(ScalarField(name, "int64") for name in names))
        rows = shop_rows(["a", "b"]).select(["item_id", "embedding", "event_timestamp"])
        for position, name in enumerate(names):
            rows = rows.append_column(name, pa.array([position, None], pa.int64()))
        store.write(spec.name, rows)
        assert store.read(spec.name, rows.select(["item_id"]), names).select(names).equals(rows.select(names))
        for position, name in enumerate(names):
            where = parse_filter(f'"{name}" = {position}', filter_types(spec))
            assert store.search(spec.name, some_vectors(1), 5, where=where).column("item_id").to_pylist() == ["a"]

    def test_times_without_a_zone_are_utc_and_other_units_fit(self, store: VectorStore, notes: CollectionSpec) -> None:
        rows = shop_rows(["zone"])
        for kind in (pa.timestamp("us"), pa.timestamp("ns", tz="UTC"), pa.timestamp("s"), TIME):
            times = rows.column("event_timestamp").cast(TIME).cast(kind)
            table = rows.set_column(rows.column_names.index("event_timestamp"), "event_timestamp", times)
            assert store.write(notes.name, table).written == 1
            found = store.read(notes.name, rows.select(["item_id"]), [])
            assert found.column("event_timestamp").to_pylist() == [NOON]
