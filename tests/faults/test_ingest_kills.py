"""SIGKILL at seeded points of an ingest and of a deletion: the same command again ends as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector import Connector
from connector.testing.faults import FileEvents, KillingProxy, seeded_points
from connector.testing.milvus_server import MilvusServer
from tests.faults.ingest_shop import (
    VIEWS,
    Shop,
    check_rows,
    check_tidy,
    check_whole,
    expected_keys,
    make_shop,
    unfinished,
)
from tests.torture import POINTS, TORTURE

pytestmark = [pytest.mark.milvus_server, pytest.mark.timeout(3600)]

EVENTS = ("os.rename", "os.remove", "open")
FEW = POINTS if TORTURE else 1


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, milvus_server: MilvusServer) -> Iterator[Shop]:
    """Shared: every disturbed run has keys of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOP_MILVUS", milvus_server.uri)
        yield make_shop(tmp_path_factory.mktemp("ingests"), milvus_server)


@pytest.fixture(scope="module")
def totals(shop: Shop) -> tuple[int, int]:
    """Requests to Milvus and file events of an undisturbed ingest into a shop that has been ingested into before.

    The first of all asks Milvus once more than those that follow.
    """
    with shop.child("ingest", str(shop.catalogue("first"))) as child:
        assert child.wait(300) == 0, child.output
    count = shop.scratch / "count"
    counted = FileEvents(EVENTS, under=str(shop.folder / "data"), count_to=str(count))
    catalogue = shop.catalogue("whole")
    with (
        KillingProxy(shop.port) as proxy,
        shop.child("ingest", str(catalogue), uri=proxy.uri, dies=counted) as child,
    ):
        assert child.wait(300) == 0, child.output
    return proxy.requests, int(count.read_text())


def finish(shop: Shop, tag: str) -> None:
    """Start it again, and look. One that died when it had forgotten its progress, its last deed, was done already."""
    with Connector(shop.folder) as opened:
        if not unfinished(shop) and all(shop.logged(view, f"{tag}-") for view in VIEWS):
            check_rows(shop, opened, tag)
            return
        report = opened.ingest(shop.scratch / f"{tag}.parquet", entity="item")
        check_whole(shop, opened, report, tag)


def test_killed_between_its_calls_of_milvus(shop: Shop, totals: tuple[int, int]) -> None:
    for point in seeded_points(totals[0], FEW, seed=1):
        tag = f"request{point}"
        with KillingProxy(shop.port) as proxy, shop.child("ingest", str(shop.catalogue(tag)), uri=proxy.uri) as child:
            proxy.kill_after(requests=point, pid=child.pid)
            child.wait(300)
            assert child.killed, f"request {point} of {totals[0]}: {child.output}"
        finish(shop, tag)


def test_killed_between_its_file_events(shop: Shop, totals: tuple[int, int]) -> None:
    for point in seeded_points(totals[1], FEW, seed=2):
        tag = f"event{point}"
        dies = FileEvents(EVENTS, under=str(shop.folder / "data"), at=point)
        with shop.child("ingest", str(shop.catalogue(tag)), dies=dies) as child:
            child.wait(300)
            assert child.killed, f"event {point} of {totals[1]}: {child.output}"
        finish(shop, tag)


@pytest.mark.skipif(not TORTURE, reason="only in `make torture`")
def test_killed_twice_in_one_run(shop: Shop, totals: tuple[int, int]) -> None:
    path = shop.catalogue("twice")
    for part in (1, 2):
        dies = FileEvents(EVENTS, under=str(shop.folder / "data"), at=totals[1] * part // 4)
        with shop.child("ingest", str(path), dies=dies) as child:
            child.wait(300)
            assert child.killed, child.output
    finish(shop, "twice")


def test_a_deletion_that_is_killed_is_completed(shop: Shop) -> None:
    """Killed anywhere, a deleted key may be in a store still, but never in a log alone; done again, it is nowhere."""
    data = str(shop.folder / "data")
    with Connector(shop.folder) as opened:
        for tag in ("counted", "deleted"):
            opened.ingest(shop.catalogue(tag), entity="item")
    count = shop.scratch / "deletions"
    with shop.child("delete", *keys("counted"), dies=FileEvents(EVENTS, under=data, count_to=str(count))) as child:
        assert child.wait(300) == 0, child.output
    total = int(count.read_text())
    for point in seeded_points(total, FEW, seed=3):
        with shop.child("delete", *keys("deleted"), dies=FileEvents(EVENTS, under=data, at=point)) as child:
            child.wait(300)
            assert child.killed, f"event {point} of {total}: {child.output}"
        with Connector(shop.folder) as opened:
            for view in VIEWS:
                logged = {row["item_id"] for row in shop.logged(view, "deleted-")}
                assert logged <= set(shop.stored(opened, view, "deleted-"))
            opened.delete("item", keys("deleted"))
            for view, all_keys in expected_keys("deleted").items():
                kept = all_keys - set(keys("deleted"))
                assert {row["item_id"] for row in shop.logged(view, "deleted-")} == kept
                assert set(shop.stored(opened, view, "deleted-")) == kept
                assert opened.reconcile(view).agrees
            check_tidy(shop)
            opened.ingest(shop.catalogue("deleted"), entity="item")


def keys(tag: str) -> list[str]:
    return [f"{tag}-{n}" for n in range(0, 90, 3)]
