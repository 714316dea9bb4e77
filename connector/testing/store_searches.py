"""The vector-store suite on searching: exactness, filters, queries that make no sense."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from connector.errors import FilterError, QueryError, StoreError
from connector.stores.base import CollectionSpec, VectorStore
from connector.stores.filters import parse_filter, to_arrow
from connector.stores.layout import filter_types
from connector.testing.rows import (
    DIMENSION,
    mixed_rows,
    nearest,
    shop_rows,
    shop_spec,
    some_vectors,
)
from connector.testing.store_fixtures import Make, StoreFixtures

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


class SearchTests(StoreFixtures):
    """Nearest rows, and the rows that SQL selects."""

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
