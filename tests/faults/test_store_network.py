"""A network between a writer and Milvus that is late, resets connections or drops them; writers that are killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest

from connector.errors import StoreUnavailableError
from connector.stores import MilvusEndpoint, MilvusVectorStore
from connector.testing.faults import Child, KillingProxy, seeded_points
from connector.testing.milvus_server import MilvusServer
from connector.testing.rows import NOON, shop_rows, shop_spec
from tests.faults.store_kit import check, tables, write
from tests.torture import POINTS, TORTURE

pytestmark = [pytest.mark.milvus_server, pytest.mark.timeout(3600)]

SPEC = shop_spec("network__v1")
ONE = pa.table({"item_id": ["k0"]})


@pytest.fixture
def store(milvus_server: MilvusServer) -> Iterator[MilvusVectorStore]:
    """Straight to the server, on an empty collection."""
    with MilvusVectorStore(milvus_server.uri) as store:
        store.drop(SPEC.name)
        store.create(SPEC)
        yield store
        store.drop(SPEC.name)


@pytest.fixture
def proxy(milvus_server: MilvusServer) -> Iterator[KillingProxy]:
    with KillingProxy(port(milvus_server)) as proxy:
        yield proxy


def port(server: MilvusServer) -> int:
    return int(server.uri.rsplit(":", 1)[1])


def writer(uri: str, turn: int, log: Path, first: int = 0, step: int = 1) -> Child:
    arguments = ["-m", "tests.faults.store_kit", uri, SPEC.name, str(turn), str(first), str(step)]
    return Child(arguments, log=log)


def test_late_answers_are_waited_for_until_patience_ends(store: MilvusVectorStore, proxy: KillingProxy) -> None:
    with MilvusVectorStore(MilvusEndpoint(proxy.uri, timeout_s=1, patience_s=4)) as late:
        assert late.write(SPEC.name, shop_rows(["k0"])).written == 1
        proxy.delay(9)
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"tried \d+ times in [\d.]+ s") as error:
            late.write(SPEC.name, shop_rows(["k0"], event=NOON.replace(hour=13), title=["late"]))
        assert 1 < time.monotonic() - started < 15
        assert "\n" not in str(error.value)
        proxy.delay(0)
        proxy.reset()
        again = shop_rows(["k0"], event=NOON.replace(hour=13), title=["again"])
        assert late.write(SPEC.name, again).written == 1
        assert late.read(SPEC.name, ONE, ["title"])["title"].to_pylist() == ["again"]
    assert store.count(SPEC.name) == 1


def test_a_network_that_drops_everything_for_a_while(store: MilvusVectorStore, proxy: KillingProxy) -> None:
    with MilvusVectorStore(MilvusEndpoint(proxy.uri, timeout_s=1, patience_s=60)) as cut_off:
        write(cut_off, SPEC.name, tables()[:2])
        proxy.pause()
        timer = threading.Timer(2.5, proxy.resume)
        timer.start()
        write(cut_off, SPEC.name, tables()[2:])
        timer.join()
    check(store, SPEC.name, tables())


def test_connections_that_are_reset(store: MilvusVectorStore, milvus_server: MilvusServer) -> None:
    with (
        KillingProxy(port(milvus_server)) as proxy,
        MilvusVectorStore(MilvusEndpoint(proxy.uri, timeout_s=20)) as undisturbed,
    ):
        write(undisturbed, SPEC.name, tables())
        total = proxy.requests
    moments: list[Literal["before", "done", "answered"]] = ["before", "done", "answered"]
    for turn, point in enumerate(seeded_points(total - 2, POINTS, seed=11)):
        with (
            KillingProxy(port(milvus_server)) as proxy,
            MilvusVectorStore(MilvusEndpoint(proxy.uri, timeout_s=20)) as reset,
        ):
            reset.list_collections()
            proxy.reset_after(point, moments[turn % 3])
            write(reset, SPEC.name, tables(turn + 1))
            assert proxy.fired.is_set(), f"request {point} of {total}"
        check(store, SPEC.name, tables(turn + 1))


def test_an_unacknowledged_write_does_not_outdo_a_newer_one(store: MilvusVectorStore, proxy: KillingProxy) -> None:
    """Milvus has the rows and the writer does not know it; meanwhile another process writes newer ones."""
    first, newer = (shop_rows(["k0"], event=NOON.replace(hour=hour), title=[str(hour)]) for hour in (13, 14))
    with MilvusVectorStore(MilvusEndpoint(proxy.uri, timeout_s=20)) as unlucky:
        unlucky.write(SPEC.name, shop_rows(["k0"]))

        def overtake() -> None:
            store.write(SPEC.name, newer)
            proxy.reset()

        proxy.when(1, overtake)
        result = unlucky.write(SPEC.name, first)
        assert (result.written, result.stale) == (0, 1)
        assert store.read(SPEC.name, ONE, ["title"])["title"].to_pylist() == ["14"]
    assert store.count(SPEC.name) == 1


def test_two_writers_on_one_space(store: MilvusVectorStore, milvus_server: MilvusServer, tmp_path: Path) -> None:
    for turn in range(max(1, POINTS // 5)):
        writers = [writer(milvus_server.uri, turn, tmp_path / str(n), n, 2) for n in range(2)]
        try:
            assert [child.wait(120) for child in writers] == [0, 0], [child.output for child in writers]
        finally:
            for child in writers:
                child.kill()
        check(store, SPEC.name, tables(turn))


def test_a_writer_that_is_killed_and_run_again(
    store: MilvusVectorStore, milvus_server: MilvusServer, tmp_path: Path
) -> None:
    with (
        KillingProxy(port(milvus_server)) as proxy,
        writer(proxy.uri, 0, tmp_path / "whole") as child,
    ):
        assert child.wait(120) == 0, child.output
        total = proxy.requests
    check(store, SPEC.name, tables())
    for turn, point in enumerate(seeded_points(total, POINTS if TORTURE else 2, seed=12), 1):
        with (
            KillingProxy(port(milvus_server)) as proxy,
            writer(proxy.uri, turn, tmp_path / f"kill{point}") as child,
        ):
            proxy.kill_after(point, child.pid, "before" if turn % 2 else "done")
            child.wait(120)
            assert child.killed, f"request {point} of {total}: {child.output}"
        write(store, SPEC.name, tables(turn))
        check(store, SPEC.name, tables(turn))
