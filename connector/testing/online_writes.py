"""Writes: the newest event of a key is kept, in any order of arrival; what has expired is not served."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from connector.testing.online_fixtures import NOW, Applied, Make, OnlineFixtures, Row, item, utc

HOUR = timedelta(hours=1)


def _text(applied: Applied, key: str) -> str | None:
    row = applied.read([item(key)], ["text"])[0]
    return None if row is None else row["text"]


class WriteTests(OnlineFixtures):
    """`online_write_batch`, event time and time to live."""

    def test_a_row_is_replaced_as_a_whole(self, notes: Applied) -> None:
        notes.write((item("whole"), {"text": "a", "count": 1, "share": 0.5, "note": "n"}, NOW - HOUR, None))
        notes.write((item("whole"), {"text": "b", "count": None}, NOW, None))
        assert notes.read([item("whole")], notes.names) == [{"text": "b", "count": None, "share": None, "note": None}]

    def test_progress_counts_the_rows(self, notes: Applied) -> None:
        counts: list[int] = []
        rows: list[Row] = [(item(f"progress{number}"), {"count": number}, NOW, None) for number in range(5)]
        notes.store.online_write_batch(notes.config, notes.view, notes.rows(rows), counts.append)
        assert sum(counts) == 5
        notes.store.online_write_batch(notes.config, notes.view, [], counts.append)
        assert sum(counts) == 5

    def test_times_without_a_zone_are_utc(self, notes: Applied) -> None:
        plain = datetime(2026, 3, 1, 12)
        notes.write((item("zone"), {"text": "plain"}, plain, plain))
        keys = [notes.key(item("zone"))]
        ((time, _),) = notes.store.online_read(notes.config, notes.view, keys, ["text"])
        assert utc(time) == plain.replace(tzinfo=timezone.utc)
        elsewhere = datetime(2026, 3, 1, 13, tzinfo=timezone(timedelta(hours=5)))
        notes.write((item("zone"), {"text": "four hours older"}, elsewhere, None))
        assert _text(notes, "zone") == "plain"

    def test_an_older_event_never_overwrites(self, notes: Applied) -> None:
        for text, event in (("new", NOW), ("old", NOW - HOUR), ("a moment older", NOW - timedelta(microseconds=1))):
            notes.write((item("older"), {"text": text}, event, None))
        assert _text(notes, "older") == "new"

    def test_the_newest_of_one_batch_wins(self, notes: Applied) -> None:
        events = [3, 9, 1, 7]
        notes.write(*((item("batch"), {"text": f"{at}"}, NOW - HOUR * (10 - at), None) for at in events))
        assert _text(notes, "batch") == "9"

    def test_equal_events_resolve_by_created_time(self, notes: Applied) -> None:
        for text, created in (("second", NOW), ("first", NOW - HOUR), ("unknown", None)):
            notes.write((item("created"), {"text": text}, NOW, created))
        assert _text(notes, "created") == "second"
        rows: list[Row] = [(item("created in one"), {"text": f"{at}"}, NOW, NOW - HOUR * (9 - at)) for at in (1, 8, 3)]
        notes.write(*rows)
        assert _text(notes, "created in one") == "8"

    def test_the_same_row_again_is_taken(self, notes: Applied) -> None:
        for text in ("a", "a", "corrected"):
            notes.write((item("again"), {"text": text}, NOW, NOW))
        assert _text(notes, "again") == "corrected"

    @pytest.mark.parametrize("seed", range(3))
    def test_any_order_of_arrival_ends_the_same(self, notes: Applied, seed: int) -> None:
        draw = random.Random(seed)
        keys = [f"order{seed}_{number}" for number in range(12)]
        rows: list[Row] = [
            (item(key), {"text": f"{event}/{created}"}, NOW + event * HOUR, NOW + created * HOUR)
            for key in keys
            for event, created in draw.sample([(e, c) for e in range(3) for c in range(2)], 5)
        ]
        wanted = {key: max((row[2], row[3], row[1]["text"]) for row in rows if row[0] == item(key))[2] for key in keys}
        draw.shuffle(rows)
        while rows:
            size = draw.randint(1, 25)
            notes.write(*rows[:size])
            rows = rows[size:]
        assert {key: _text(notes, key) for key in keys} == wanted

    def test_two_writers_at_once_end_with_the_newest(self, notes: Applied) -> None:
        def write(event: int) -> None:
            notes.write(*((item(f"race{number}"), {"count": event}, NOW + event * HOUR, None) for number in range(20)))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, [3, 1, 4, 1, 5, 2]))
        assert notes.read([item(f"race{number}") for number in range(20)], ["count"]) == [{"count": 5}] * 20

    def test_writes_without_blocking(self, notes: Applied) -> None:
        if not notes.store.async_supported.write:
            pytest.skip("the store says that it has no asynchronous writes")
        rows = [notes.rows([(item(f"async{number}"), {"count": number}, NOW, None)]) for number in range(6)]

        async def together() -> list[Any]:
            store, config, view = notes.store, notes.config, notes.view
            await asyncio.gather(*(store.online_write_batch_async(config, view, row, None) for row in rows))
            keys = [notes.key(item(f"async{number}")) for number in (4, 0, 9)]
            return list(await store.online_read_async(config, view, keys, ["count"]))

        found = [row for _, row in asyncio.run(together())]
        assert [row and row["count"].int64_val for row in found] == [4, 0, None]

    def test_what_has_expired_is_not_served(self, make: Make) -> None:
        from feast import Field
        from feast.types import Int64

        view = make([Field(name="count", dtype=Int64)], ttl=2 * HOUR)
        view.write((item("old"), {"count": 1}, NOW - 3 * HOUR, None), (item("new"), {"count": 2}, NOW - HOUR, None))
        assert view.read([item("old"), item("new")], ["count"]) == [None, {"count": 2}]
        answer = view.feast.get_online_features(
            features=[f"{view.view.name}:count"], entity_rows=[dict(item("old")), dict(item("none"))]
        ).to_dict(include_event_timestamps=True)
        assert answer["count"] == [None, None]
        assert answer["count__ts"] == [int((NOW - 3 * HOUR).timestamp()), 0]
        view.write((item("old"), {"count": 3}, NOW, None))
        assert view.read([item("old")], ["count"]) == [{"count": 3}]

    def test_a_value_of_another_type_is_refused_and_nothing_written(self, notes: Applied) -> None:
        from feast.protos.feast.types.Value_pb2 import Value

        good = notes.rows([(item("good"), {"count": 1}, NOW, None)])
        bad = [(notes.key(item("bad")), {"count": Value(string_val="many")}, NOW, None)]
        with pytest.raises(Exception, match="count"):
            notes.store.online_write_batch(notes.config, notes.view, [*good, *bad], None)
        assert notes.read([item("good"), item("bad")]) == [None, None]
