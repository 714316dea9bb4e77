"""Reads: any features, in any order, of keys that are there and keys that are not."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from connector.testing.online_fixtures import NOW, Applied, Make, OnlineFixtures, item, utc

PLACES = [9, 2, 30, 100, 1, 0, 55, 21]
"""Written in this order, which is that of no sort."""


class ReadTests(OnlineFixtures):
    """`online_read` and what Feast makes of it."""

    @pytest.fixture(scope="class")
    @classmethod
    def shelf(cls, make: Make) -> Applied:
        """Eight items; only read."""
        from feast import Field
        from feast.types import Float64, Int64, String

        shelf = make(
            [Field(name="text", dtype=String), Field(name="place", dtype=Int64), Field(name="w", dtype=Float64)]
        )
        shelf.write(
            *(
                (item(place), {"text": f"t{place}", "place": place, "w": place / 8}, NOW - timedelta(hours=place), None)
                for place in PLACES
            )
        )
        return shelf

    def test_rows_come_in_the_order_of_the_keys(self, shelf: Applied) -> None:
        for order in (PLACES, sorted(PLACES), PLACES[::-1], [55], []):
            found = shelf.read([item(place) for place in order])
            assert [row and row["place"] for row in found] == order
            assert [row and row["text"] for row in found] == [f"t{place}" for place in order]

    def test_event_times_come_with_the_rows(self, shelf: Applied) -> None:
        keys = [shelf.key(item(place)) for place in (100, 0)]
        times = [utc(time) for time, _ in shelf.store.online_read(shelf.config, shelf.view, keys, ["place"])]
        assert times == [NOW - timedelta(hours=100), NOW]

    @pytest.mark.parametrize("names", [["text"], ["w", "place"], ["place", "w"], ["w", "text", "place"]])
    def test_any_features_are_read(self, shelf: Applied, names: list[str]) -> None:
        row = shelf.read([item(21)], names)[0]
        assert row is not None
        whole = {"text": "t21", "place": 21, "w": 21 / 8}
        assert {name: row[name] for name in names} == {name: whole[name] for name in names}

    def test_all_features_where_none_are_named(self, shelf: Applied) -> None:
        assert shelf.read([item(2)], None) == [{"text": "t2", "place": 2, "w": 0.25}]

    def test_absent_keys_and_repeated_ones(self, shelf: Applied) -> None:
        keys = [item("nobody"), item(9), item(""), item(9), item('i9" or "1" == "1'), item(2)]
        found = shelf.read(keys, ["place"])
        assert [row and row["place"] for row in found] == [None, 9, None, 9, None, 2]
        absent = shelf.store.online_read(shelf.config, shelf.view, [shelf.key(item("nobody"))], ["place"])
        assert absent == [(None, None)]

    def test_a_thousand_keys_and_more(self, shelf: Applied) -> None:
        keys = [item(f"x{number}") for number in range(1300)]
        keys[700], keys[1299] = item(9), item(30)
        found = {position: row["place"] for position, row in enumerate(shelf.read(keys, ["place"])) if row}
        assert found == {700: 9, 1299: 30}

    def test_through_feast(self, shelf: Applied) -> None:
        name = shelf.view.name
        answer = shelf.feast.get_online_features(
            features=[f"{name}:w", f"{name}:text"],
            entity_rows=[dict(item(key)) for key in (30, "nobody", 1, 30)],
            full_feature_names=True,
        )
        assert answer.to_dict() == {
            "item_id": ["i30", "nobody", "i1", "i30"],
            f"{name}__w": [3.75, None, 0.125, 3.75],
            f"{name}__text": ["t30", None, "t1", "t30"],
        }
        times = answer.to_dict(include_event_timestamps=True)[f"{name}__w__ts"]
        written = [int((NOW - timedelta(hours=hours)).timestamp()) for hours in (30, 1)]
        assert times == [written[0], 0, written[1], written[0]]

    def test_a_service_that_maps_one_view_to_two_keys(self, shelf: Applied) -> None:
        from feast import FeatureService

        views = [
            shelf.view[["place"]].with_name(name).with_join_key_map({"item_id": f"{name}_id"})
            for name in ("one", "two")
        ]
        service = FeatureService(name=f"{shelf.view.name}_pairs", features=views)
        shelf.feast.apply([service])
        rows = [{"one_id": "i9", "two_id": "i2"}, {"one_id": "i2", "two_id": "nobody"}]
        found = shelf.feast.get_online_features(features=service, entity_rows=rows, full_feature_names=True).to_dict()
        assert found["one__place"] == [9, 2]
        assert found["two__place"] == [2, None]

    def test_several_keys_of_several_types(self, make: Make) -> None:
        from feast import Entity, Field, ValueType
        from feast.types import Int64

        entities = [
            Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT64),
            Entity(name="floor", join_keys=["floor_id"], value_type=ValueType.INT32),
            Entity(name="shelf", join_keys=["shelf_id"], value_type=ValueType.STRING),
        ]
        view = make([Field(name="stock", dtype=Int64)], entities=entities)
        given = [(1, 2, "a"), (2**60, -2, "a"), (1, 2, 'a"]'), (1, 1, "2a")]
        keys = [dict(zip(("shop_id", "floor_id", "shelf_id"), values, strict=True)) for values in given]
        view.write(*((key, {"stock": place}, NOW, None) for place, key in enumerate(keys)))
        turned = [dict(reversed(key.items())) for key in reversed(keys)]
        absent = {"shop_id": 1, "floor_id": 2, "shelf_id": "b"}
        assert [row and row["stock"] for row in view.read([*turned, absent])] == [3, 2, 1, 0, None]
        found = view.feast.get_online_features(features=[f"{view.view.name}:stock"], entity_rows=keys).to_dict()
        assert found["stock"] == [0, 1, 2, 3]

    def test_reads_from_several_threads(self, shelf: Applied) -> None:
        def read(place: int) -> int:
            row = shelf.read([item(place)], ["place"])[0]
            assert row is not None
            return int(row["place"])

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(read, PLACES * 3)) == PLACES * 3

    def test_reads_without_blocking(self, shelf: Applied) -> None:
        if not shelf.store.async_supported.read:
            pytest.skip("the store says that it has no asynchronous reads")

        async def together() -> list[list[int]]:
            name = shelf.view.name
            asked = [
                shelf.feast.get_online_features_async(features=[f"{name}:place"], entity_rows=[dict(item(place))])
                for place in PLACES
            ]
            return [answer.to_dict()["place"] for answer in await asyncio.gather(*asked)]

        assert asyncio.run(together()) == [[place] for place in PLACES]
