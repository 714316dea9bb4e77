"""Behaviour of a vector store. A store's whole test is

    class TestMyStore(VectorStoreSuite):
        @pytest.fixture(scope="class")
        @classmethod
        def store(cls): ...

A gap is a test overridden with a strict xfail and its reason, so that closing it fails the suite until the mark goes.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from connector.errors import QueryError, SchemaMismatchError, StoreError
from connector.stores.base import CollectionSpec, ScalarField, VectorStore
from connector.stores.filters import parse_filter
from connector.stores.layout import filter_types
from connector.testing.rows import (
    DIMENSION,
    NOON,
    TIME,
    shop_rows,
    shop_spec,
    some_vectors,
)
from connector.testing.store_fixtures import Make
from connector.testing.store_scans import ScanTests
from connector.testing.store_searches import SearchTests
from connector.testing.store_writes import WriteTests


class VectorStoreSuite(WriteTests, SearchTests, ScanTests):
    """Tests of the `VectorStore` contract; a subclass gives the `store` fixture, of class scope."""

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
