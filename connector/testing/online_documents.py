"""Searches: the nearest rows, each beside its own features and distance, filtered as Feast's filter models say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from connector.testing.online_fixtures import NOW, Applied, Make, OnlineFixtures, item, python, utc

ROWS, DIMENSION = 36, 8
PLACES = [(row * 23 + 5) % ROWS for row in range(ROWS)]
"""Order in which the items are written: neither that of their keys nor that of their distances."""
VECTORS = np.random.default_rng(1).standard_normal((ROWS, DIMENSION)).astype(np.float32)
SEEN = datetime(2026, 1, 1, tzinfo=timezone.utc)
KINDS = ["dress", "shoe", 'it\'s "a" hat', None]


def features(place: int) -> dict[str, Any]:
    """Features of an item; a fourth of `kind` and a fifth of `price` are null."""
    return {
        "kind": KINDS[place % 4],
        "title": None if place == 18 else f"{['red', 'blue'][place % 2]} {KINDS[place % 4] or 'thing'} {place}",
        "price": None if place % 5 == 0 else place / 4,
        "stock": place - 10,
        "sold": place % 3 == 0,
        "seen": SEEN + timedelta(days=place),
        "tags": [f"t{place}", "x"],
    }


def nearest(query: int, chosen: Sequence[int], k: int, metric: str = "COSINE") -> dict[int, float]:
    """Place → distance of the `k` nearest of the chosen, nearest first, by exact search."""
    some, one = VECTORS[list(chosen)].astype(np.float64), VECTORS[query].astype(np.float64)
    if metric == "L2":
        score = ((some - one) ** 2).sum(axis=1)
    else:
        score = some @ one / np.linalg.norm(some, axis=1) / np.linalg.norm(one)
    order = np.argsort(score if metric == "L2" else -score)
    return {chosen[position]: float(score[position]) for position in order[:k]}


Test = Callable[[Mapping[str, Any]], bool]
FILTERS: list[tuple[Any, Test]] = [
    (("eq", "kind", "dress"), lambda row: row["kind"] == "dress"),
    (("eq", "kind", KINDS[2]), lambda row: row["kind"] == KINDS[2]),
    (("ne", "kind", "dress"), lambda row: row["kind"] not in (None, "dress")),
    (("gt", "price", 4), lambda row: row["price"] is not None and row["price"] > 4),
    (("lte", "price", 4.25), lambda row: row["price"] is not None and row["price"] <= 4.25),
    (("lt", "stock", 0), lambda row: row["stock"] < 0),
    (("gte", "stock", 20), lambda row: row["stock"] >= 20),
    (("eq", "sold", True), lambda row: row["sold"]),
    (("ne", "sold", True), lambda row: not row["sold"]),
    (("in", "stock", [1, 5, 77, -10]), lambda row: row["stock"] in (1, 5, -10)),
    (("nin", "kind", ["dress", "shoe"]), lambda row: row["kind"] == KINDS[2]),
    (("in", "kind", []), lambda _: False),
    (("gte", "seen", SEEN + timedelta(days=30)), lambda row: row["stock"] >= 20),
    (("eq", "item_id", "i7"), lambda row: row["stock"] == -3),
    (("gt", "kind", "e"), lambda row: row["kind"] in ("shoe", KINDS[2])),
    (("and", [("eq", "kind", "shoe"), ("gt", "stock", 5)]), lambda row: row["kind"] == "shoe" and row["stock"] > 5),
    (("or", [("eq", "kind", "shoe"), ("gt", "stock", 22)]), lambda row: row["kind"] == "shoe" or row["stock"] > 22),
    (
        (
            "and",
            [("or", [("lt", "stock", -8), ("gt", "stock", 22)]), ("or", [("eq", "sold", True), ("in", "stock", [24])])],
        ),
        lambda row: (row["stock"] < -8 or row["stock"] > 22) and (row["sold"] or row["stock"] == 24),
    ),
]


def feast_filter(spelled: Any) -> Any:
    """`("eq", key, value)` or `("and", [...])` as Feast's filter model."""
    from feast.filter_models import ComparisonFilter, CompoundFilter

    if spelled[0] in ("and", "or"):
        return CompoundFilter(type=spelled[0], filters=[feast_filter(part) for part in spelled[1]])
    return ComparisonFilter(type=spelled[0], key=spelled[1], value=spelled[2])


def declare_catalogue(make: Make, metric: str = "COSINE", **settings: Any) -> Applied:
    """An applied view of the items, empty."""
    from feast import Field
    from feast.types import Array, Bool, Float32, Float64, Int64, String, UnixTimestamp

    scalars = {"kind": String, "title": String, "price": Float64, "stock": Int64, "sold": Bool, "seen": UnixTimestamp}
    vector = Field(
        name="look",
        dtype=Array(Float32),
        vector_index=True,
        vector_length=DIMENSION,
        vector_search_metric=metric,
    )
    fields = [Field(name=name, dtype=kind) for name, kind in scalars.items()]
    return make([*fields, Field(name="tags", dtype=Array(String)), vector], **settings)


class DocumentTests(OnlineFixtures):
    """`retrieve_online_documents` and `retrieve_online_documents_v2`, of the store and of Feast."""

    @pytest.fixture(scope="class")
    @classmethod
    def catalogue(cls, make: Make) -> Applied:
        """A view of 36 items with a vector each; only read."""
        tags = {"connector/keyword_fields": '["title"]', "connector/partition_key": "kind"}
        catalogue = declare_catalogue(make, tags=tags)
        catalogue.write(
            *((item(place), {**features(place), "look": VECTORS[place].tolist()}, NOW, None) for place in PLACES)
        )
        return catalogue

    def _found(self, catalogue: Applied, query: int | None, k: int, names: list[str], **options: Any) -> dict[int, Any]:
        """Place → row of what the store finds."""
        embedding = None if query is None else VECTORS[query].tolist()
        answer = catalogue.store.retrieve_online_documents_v2(
            catalogue.config, catalogue.view, names, embedding, k, **options
        )
        found = {}
        for time, key, row in answer:
            assert utc(time) == NOW
            assert key.join_keys == ["item_id"]
            found[int(key.entity_values[0].string_val[1:])] = {name: python(value) for name, value in row.items()}
        assert len(found) == len(answer)
        return found

    @pytest.mark.parametrize("query", range(0, ROWS, 7))
    def test_every_key_stands_beside_its_own_row(self, catalogue: Applied, query: int) -> None:
        names = ["title", "price", "tags", "look", "seen"]
        found = self._found(catalogue, query, 6, names)
        wanted = nearest(query, range(ROWS), 6)
        assert set(found) == set(wanted)
        for place, row in found.items():
            assert row["distance"] == pytest.approx(wanted[place], abs=1e-4)
            np.testing.assert_array_equal(np.array(row["look"], np.float32), VECTORS[place])
            assert {name: row[name] for name in ("title", "price", "tags")} == {
                name: features(place)[name] for name in ("title", "price", "tags")
            }

    @pytest.mark.parametrize("query", range(3, ROWS, 8))
    def test_so_it_does_through_feast(self, catalogue: Applied, query: int) -> None:
        """Feast pairs features with keys by the rank of the key: rows that come in another order lose their own."""
        name = catalogue.view.name
        found = catalogue.feast.retrieve_online_documents_v2(
            features=[f"{name}:stock", f"{name}:title", f"{name}:look"], query=VECTORS[query].tolist(), top_k=8
        ).to_dict()
        places = [int(key[1:]) for key in found["item_id"]]
        wanted = nearest(query, range(ROWS), 8)
        assert set(places) == set(wanted)
        assert found["stock"] == [place - 10 for place in places]
        assert found["title"] == [features(place)["title"] for place in places]
        np.testing.assert_allclose(found["distance"], [wanted[place] for place in places], atol=1e-4)
        np.testing.assert_array_equal(np.array(found["look"], np.float32), VECTORS[places])

    def test_the_best_is_the_asked_for_item_itself(self, catalogue: Applied) -> None:
        assert self._found(catalogue, 11, 1, ["stock"])[11]["stock"] == 1

    def test_more_are_asked_for_than_there_are(self, catalogue: Applied) -> None:
        assert set(self._found(catalogue, 0, 500, ["stock"])) == set(range(ROWS))

    @pytest.mark.parametrize(("spelled", "test"), FILTERS, ids=[str(spelled)[:50] for spelled, _ in FILTERS])
    def test_filters(self, catalogue: Applied, spelled: Any, test: Test) -> None:
        chosen = [place for place in range(ROWS) if test(features(place))]
        found = self._found(catalogue, 4, 5, ["stock", "kind"], filters=feast_filter(spelled))
        assert set(found) == set(nearest(4, chosen, 5) if chosen else {})
        assert {place: row["stock"] for place, row in found.items()} == {place: place - 10 for place in found}

    def test_filters_through_feast(self, catalogue: Applied) -> None:
        name = catalogue.view.name
        answer = catalogue.feast.retrieve_online_documents_v2(
            features=[f"{name}:stock"],
            query=VECTORS[0].tolist(),
            top_k=50,
            filters=feast_filter(("and", [("eq", "kind", "shoe"), ("lt", "stock", 7)])),
        ).to_dict()
        assert sorted(answer["stock"]) == [-9, -5, -1, 3]
        nothing = catalogue.feast.retrieve_online_documents_v2(
            features=[f"{name}:stock"], query=VECTORS[0].tolist(), top_k=5, filters=feast_filter(("gt", "stock", 99))
        ).to_dict()
        assert nothing == {"stock": [], "distance": []}

    @pytest.mark.parametrize(
        "spelled",
        [("eq", "nothing", 1), ("eq", "tags", "x"), ("gt", "stock", "many"), ("eq", "sold", 1), ("in", "stock", 3)],
        ids=str,
    )
    def test_filters_that_make_no_sense_are_refused(self, catalogue: Applied, spelled: Any) -> None:
        with pytest.raises(ValueError, match=spelled[1]):
            self._found(catalogue, 0, 3, ["stock"], filters=feast_filter(spelled))

    def test_the_older_call(self, catalogue: Applied) -> None:
        embedding = VECTORS[6].tolist()
        answer = catalogue.store.retrieve_online_documents(catalogue.config, catalogue.view, ["stock"], embedding, 5)
        wanted = nearest(6, range(ROWS), 5)
        assert [int(key.entity_values[0].string_val[1:]) for _, key, *_ in answer] == list(wanted)
        for (time, _, value, vector, distance), place in zip(answer, wanted, strict=True):
            assert (utc(time), value.int64_val) == (NOW, place - 10)
            np.testing.assert_array_equal(np.array(vector.float_list_val.val, np.float32), VECTORS[place])
            assert distance.float_val == pytest.approx(wanted[place], abs=1e-4)

    def test_another_metric(self, make: Make) -> None:
        view = declare_catalogue(make, "L2")
        view.write(*((item(place), {"stock": place, "look": VECTORS[place].tolist()}, NOW, None) for place in PLACES))
        wanted = nearest(9, range(ROWS), 5, "L2")
        found = self._found(view, 9, 5, ["stock"])
        assert {place: row["distance"] for place, row in found.items()} == {
            place: pytest.approx(distance, rel=1e-4) for place, distance in wanted.items()
        }

    def test_what_has_expired_is_neither_found_nor_read(self, make: Make) -> None:
        view = declare_catalogue(make, ttl=timedelta(hours=2))
        ages = {place: timedelta(hours=3 if place % 2 else 1) for place in PLACES[:12]}
        view.write(
            *(
                (item(place), {"stock": place, "look": VECTORS[place].tolist()}, NOW - age, None)
                for place, age in ages.items()
            )
        )
        name = view.view.name
        read = view.read([item(place) for place in ages], ["stock"])
        assert read == [None if place % 2 else {"stock": place} for place in ages]
        found = view.feast.retrieve_online_documents_v2(
            features=[f"{name}:stock"], query=VECTORS[1].tolist(), top_k=12
        ).to_dict()
        assert sorted(found["stock"]) == sorted(place for place in ages if place % 2 == 0)
        low = feast_filter(("lt", "stock", 20))
        found = view.feast.retrieve_online_documents_v2(
            features=[f"{name}:stock"], query=VECTORS[1].tolist(), top_k=12, filters=low
        ).to_dict()
        assert sorted(found["stock"]) == sorted(place for place in ages if place % 2 == 0 and place < 20)

    def test_words(self, catalogue: Applied) -> None:
        found = self._found(catalogue, None, 50, ["title"], query_string="blue shoe")
        words = {place: len({"blue", "shoe"} & set((features(place)["title"] or "").split())) for place in range(ROWS)}
        assert set(found) == {place for place, count in words.items() if count}
        best = max(found.values(), key=lambda row: row["text_rank"])
        assert {"blue", "shoe"} < set(best["title"].split())
        assert all(row["text_rank"] > 0 and "distance" not in row for row in found.values())

    def test_words_with_a_filter_and_through_feast(self, catalogue: Applied) -> None:
        name = catalogue.view.name
        answer = catalogue.feast.retrieve_online_documents_v2(
            features=[f"{name}:stock", f"{name}:title"],
            query_string="dress",
            top_k=50,
            filters=feast_filter(("gt", "stock", 0)),
        ).to_dict()
        assert [int(key[1:]) - 10 for key in answer["item_id"]] == answer["stock"]
        assert sorted(answer["stock"]) == [place - 10 for place in range(0, ROWS, 4) if place > 10]

    def test_words_and_a_vector_together(self, catalogue: Applied) -> None:
        rare = self._found(catalogue, 8, 6, ["title", "stock"], query_string="31")
        assert 31 in rare
        wanted = nearest(8, range(ROWS), ROWS)
        assert set(rare) - {31} <= set(list(wanted)[:7])
        assert rare[31]["text_rank"] > 0
        for place, row in rare.items():
            assert row["stock"] == place - 10
            assert row["distance"] == pytest.approx(wanted[place], abs=1e-4)
