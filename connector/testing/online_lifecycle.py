"""What an apply makes and a teardown removes; opening and closing."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from connector.testing.online_fixtures import NOW, Applied, Make, OnlineFixtures, declare, item


def _update(keep: list[Applied], drop: list[Applied]) -> None:
    one = (keep or drop)[0]
    one.store.update(one.config, [view.view for view in drop], [view.view for view in keep], [], [], partial=True)


def _left(view: Applied, key: str) -> object:
    """What can still be read of a view that is gone: an error is as good as nothing."""
    try:
        return view.read([item(key)])[0]
    except Exception:  # noqa: BLE001 - which error is the store's own affair
        return None


class LifecycleTests(OnlineFixtures):
    """`update`, `plan`, `teardown`, `initialize` and `close`."""

    def test_applying_again_keeps_the_rows(self, notes: Applied) -> None:
        notes.write((item("kept"), {"text": "here"}, NOW, None))
        notes.feast.apply([*notes.entities, notes.view])
        _update([notes], [])
        assert notes.read([item("kept")], ["text"]) == [{"text": "here"}]

    def test_a_dropped_view_takes_its_rows_and_no_others(self, make: Make, notes: Applied) -> None:
        """Two views of one entity; one is dropped, and made again."""
        from feast import Field
        from feast.types import Int64

        view = make([Field(name="count", dtype=Int64)])
        assert view.read([item(1), item(2)], ["count"]) == [None, None]
        view.write((item("shared"), {"count": 1}, NOW, None))
        notes.write((item("shared"), {"text": "stays"}, NOW, None))
        view.feast.apply([], objects_to_delete=[view.view], partial=False)
        assert notes.read([item("shared")], ["text"]) == [{"text": "stays"}]
        view.feast.apply([*view.entities, view.view])
        assert view.read([item("shared")], ["count"]) == [None]
        assert notes.read([item("shared")], ["text"]) == [{"text": "stays"}]
        view.write((item("shared"), {"count": 2}, NOW - timedelta(days=3000), None))
        assert view.read([item("shared")], ["count"]) == [{"count": 2}]
        view.store.teardown(view.config, [view.view], list(view.entities))
        assert _left(view, "shared") is None
        assert notes.read([item("shared")], ["text"]) == [{"text": "stays"}]

    def test_dropping_and_teardown_of_what_is_not_there(self, notes: Applied) -> None:
        from feast import Field
        from feast.types import Int64

        absent = declare(notes.feast, "suite_absent", [Field(name="count", dtype=Int64)])
        _update([], [absent])
        notes.store.teardown(notes.config, [absent.view], [])
        notes.store.teardown(notes.config, [], [])
        notes.write((item("after teardown"), {"text": "works"}, NOW, None))
        assert notes.read([item("after teardown")], ["text"]) == [{"text": "works"}]

    def test_a_plan_names_the_views_and_can_be_kept(self, notes: Applied) -> None:
        from feast.infra.infra_object import Infra

        planned = notes.store.plan(notes.config, notes.feast.registry.proto())
        infra = Infra(infra_objects=list(planned))
        again = Infra.from_proto(infra.to_proto())
        assert [thing.name for thing in again.infra_objects] == [thing.name for thing in planned]
        assert any(notes.view.name in thing.name for thing in planned)

    def test_closing_and_going_on(self, notes: Applied) -> None:
        async def cycle() -> None:
            await notes.store.initialize(notes.config)
            await notes.store.close()
            await notes.store.close()

        notes.write((item("closing"), {"count": 1}, NOW, None))
        asyncio.run(cycle())
        assert notes.read([item("closing")], ["count"]) == [{"count": 1}]
        notes.write((item("closing"), {"count": 2}, NOW, NOW))
        assert notes.read([item("closing")], ["count"]) == [{"count": 2}]

    def test_reading_what_was_never_applied_is_an_error_of_one_line(self, notes: Applied) -> None:
        from feast import Field
        from feast.types import Int64

        absent = declare(notes.feast, "suite_never", [Field(name="count", dtype=Int64)])
        for call in (
            lambda: absent.read([item(1)], ["count"]),
            lambda: absent.write((item(1), {"count": 1}, NOW, None)),
        ):
            with pytest.raises(Exception, match="suite_never") as caught:
                call()
            assert "\n" not in str(caught.value)
