"""A Milvus that is killed and started again while it is written to, and one that asks to slow down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from connector.errors import StoreUnavailableError
from connector.stores import MilvusEndpoint, MilvusVectorStore
from connector.stores.columns import read_columns
from connector.stores.rows import batches, newest_rows
from connector.stores.writing import upsert
from connector.testing.faults import KillingProxy, seeded_points
from connector.testing.milvus_server import MilvusServer
from connector.testing.rows import shop_rows, shop_spec, some_vectors
from tests.faults.store_kit import check, tables, write
from tests.milvus_fixtures import milvus_environment
from tests.torture import POINTS, TORTURE

pytestmark = [pytest.mark.milvus_server, pytest.mark.timeout(7200)]

SPEC = shop_spec("server__v1")
KILLS = 10
"""That one server suffers. After some forty a 2.3.5 server does not answer strong reads for minutes, whoever asks."""
SETTINGS = {
    "common.session.ttl": 6,  # how long a killed server's claim on the collection outlives it
    "quotaAndLimits.enabled": True,
    "quotaAndLimits.dml.enabled": True,
    "quotaAndLimits.dml.insertRate.max": 0.1,
    "quotaAndLimits.dml.upsertRate.max": 0.1,
}


@pytest.fixture(scope="module", params=range(0, POINTS, KILLS))
def first(request: pytest.FixtureRequest) -> int:
    """Number of the first kill that a server suffers."""
    number: int = request.param
    return number


@pytest.fixture(scope="module")
def server(first: int, milvus_server: MilvusServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """A server of its own that takes 0.1 MB of rows in a second; the shared one is asked for so that both are skipped
    together."""
    server = MilvusServer(tmp_path_factory.mktemp("killed"), milvus_environment(), extra=SETTINGS)
    server.start()
    yield server
    server.remove()


def test_a_server_that_is_killed_and_comes_back(first: int, server: MilvusServer) -> None:
    points = list(enumerate(seeded_points(50, POINTS if TORTURE else 1, seed=13)))
    with MilvusVectorStore(MilvusEndpoint(server.uri, timeout_s=60)) as straight:
        straight.create(SPEC)
        for turn, point in points[first : first + KILLS]:
            _killed_at(server, point, turn)
            check(straight, SPEC.name, tables(turn))


def _killed_at(server: MilvusServer, point: int, turn: int) -> None:
    """The server is started again by this thread: it ends with the thread that started it."""
    killed = threading.Event()

    def kill() -> None:
        server.kill()
        killed.set()

    with (
        KillingProxy(int(server.uri.rsplit(":", 1)[1])) as proxy,
        MilvusVectorStore(MilvusEndpoint(proxy.uri, timeout_s=30, patience_s=400)) as store,
        ThreadPoolExecutor(1) as threads,
    ):
        store.list_collections()
        proxy.when(point, kill, "before" if turn % 2 else "done")

        def fill() -> None:
            while not killed.is_set():
                write(store, SPEC.name, tables(turn))

        filled = threads.submit(fill)
        assert killed.wait(60)
        server.start()
        filled.result(450)


def again_and_again(call: Callable[[], Any]) -> None:
    for _ in range(20):
        call()


def test_a_server_that_asks_to_slow_down(server: MilvusServer) -> None:
    spec = shop_spec("slow__v1")
    rows = shop_rows([f"k{n}" for n in range(600)], vectors=some_vectors(600), title=["x" * 400] * 600)
    columns = read_columns(spec, rows)
    (chosen,) = batches(spec, columns, newest_rows(columns))
    with MilvusVectorStore(MilvusEndpoint(server.uri, patience_s=60)) as store:
        store.drop(spec.name)
        store.create(spec)
        session = store._opened()
        known = session.admin.find(spec.name)
        assert known is not None
        with pytest.raises(StoreUnavailableError, match="asks to slow down"):
            again_and_again(lambda: upsert(session, known, columns, chosen))
        assert store.write(spec.name, rows).written == 600
        assert store.count(spec.name) == 600
        with MilvusVectorStore(MilvusEndpoint(server.uri, patience_s=0)) as hasty:
            with pytest.raises(StoreUnavailableError, match="asks to slow down") as error:
                again_and_again(lambda: hasty.write(spec.name, rows))
            assert "\n" not in str(error.value)
        store.drop(spec.name)
