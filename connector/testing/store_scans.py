"""The vector-store suite on scanning: every row once, whatever its key, while others write."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pytest

from connector.errors import FilterError, QueryError, StoreError
from connector.stores.base import CollectionSpec, ScalarField, VectorStore
from connector.stores.filters import parse_filter, to_arrow
from connector.stores.layout import filter_types
from connector.testing.rows import HOSTILE, mixed_rows, shop_rows, some_vectors
from connector.testing.store_fixtures import Make, StoreFixtures

COLUMNS = ("item_id", "title", "price", "raw", "embedding", "event_timestamp", "created_timestamp")


def rows_of(batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
    """Rows of every batch, ordered by key."""
    rows = [row for batch in batches for row in batch.to_pylist()]
    return sorted(rows, key=lambda row: next(iter(row.values())))


class ScanTests(StoreFixtures):
    """Streams of rows."""

    def test_a_scan_gives_every_row_once_as_it_was_written(self, store: VectorStore, shop: CollectionSpec) -> None:
        batches = list(store.scan(shop.name, COLUMNS, batch_rows=7))
        assert all(0 < batch.num_rows <= 7 and batch.schema.names == list(COLUMNS) for batch in batches)
        assert rows_of(batches) == rows_of(mixed_rows().select(COLUMNS).to_batches())

    def test_a_scan_of_more_rows_than_a_page_holds(
        self, store: VectorStore, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = make()
        keys = [f"{row * 7919 % 900}" for row in range(900)]
        titles = [f"{'long' * (row % 50 * 20)} {row}" for row in range(900)]
        store.write(spec.name, shop_rows(keys, vectors=some_vectors(900), title=titles))
        monkeypatch.setattr("connector.stores.scan.PAGE_BYTES", 256 * 1024)
        found = rows_of(store.scan(spec.name, ["item_id", "title"], batch_rows=10_000))
        expected = sorted(zip(keys, titles, strict=True))
        assert [(row["item_id"], row["title"]) for row in found] == expected

    @pytest.mark.parametrize("condition", ["price < 50", "title IS NULL", "FALSE"])
    def test_a_scan_with_a_filter(self, store: VectorStore, shop: CollectionSpec, condition: str) -> None:
        where = parse_filter(condition, filter_types(shop))
        expected = mixed_rows().filter(to_arrow(where)).select(["item_id"])
        batches = list(store.scan(shop.name, ["item_id"], where, batch_rows=5))
        assert rows_of(batches) == rows_of(expected.to_batches())

    def test_a_scan_goes_on_after_a_key_that_tries_to_break_out(
        self, store: VectorStore, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = make()
        keys = [key for key in HOSTILE if key]
        store.write(spec.name, shop_rows(keys))
        # Every key becomes the last one of a page.
        monkeypatch.setattr("connector.stores.scan._first_limit", lambda *_: 1)
        monkeypatch.setattr("connector.stores.scan._fitting", lambda *_: 1)
        assert sorted(row["item_id"] for row in rows_of(store.scan(spec.name, ["item_id"]))) == sorted(keys)

    def test_a_scan_of_compound_keys_and_of_no_rows(self, store: VectorStore, make: Make) -> None:
        keys = (ScalarField("shop", "int64"), ScalarField("sku", "string"))
        spec = make(keys=keys)
        assert list(store.scan(spec.name, ["shop"])) == []
        rows = shop_rows(["unused"] * 3).drop_columns(["item_id"])
        table = rows.append_column("shop", pa.array([1, -2, 1])).append_column("sku", pa.array(['a"', "a", "[1]"]))
        store.write(spec.name, table)
        found = rows_of(store.scan(spec.name, ["sku", "shop"]))
        assert found == [{"sku": "[1]", "shop": 1}, {"sku": "a", "shop": -2}, {"sku": 'a"', "shop": 1}]

    def test_a_scan_sees_what_was_written_before_it_and_keeps_to_its_collection(
        self, store: VectorStore, make: Make
    ) -> None:
        first, second = make(), make()
        store.write(first.name, shop_rows(["a", "b"]))
        store.write(second.name, shop_rows(["c"]))
        store.set_alias("suite_scanned", first.name)
        batches = store.scan("suite_scanned", ["item_id"], batch_rows=1)
        store.set_alias("suite_scanned", second.name)
        assert [row["item_id"] for row in rows_of(batches)] == ["a", "b"]
        store.delete(first.name, pa.table({"item_id": ["a"]}))
        assert [row["item_id"] for row in rows_of(store.scan(first.name, ["item_id"]))] == ["b"]

    def test_scans_that_make_no_sense(self, store: VectorStore, shop: CollectionSpec) -> None:
        with pytest.raises(StoreError, match="no column 'colour'"):
            store.scan(shop.name, ["colour"])
        with pytest.raises(StoreError, match="suite_absent"):
            store.scan("suite_absent__v1", ["item_id"])
        with pytest.raises(FilterError, match="colour"):
            store.scan(shop.name, ["item_id"], parse_filter("colour = 'red'", {"colour": "string"}))
        with pytest.raises(QueryError, match="batch_rows"):
            store.scan(shop.name, ["item_id"], batch_rows=0)
