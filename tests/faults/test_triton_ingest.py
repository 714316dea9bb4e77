"""Triton is killed while a catalogue is ingested: the run goes on, or ends with one error and the next completes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from connector import Connector
from connector.config import Settings, TritonSettings
from connector.errors import ServerUnavailableError
from connector.serving import LocalTriton
from connector.serving.environment import ServerEnvironment
from connector.serving.processes import children, wait_until
from connector.testing.faults import KillingProxy, seeded_points
from tests.ready_shop import FEATURE_STORE
from tests.torture import POINTS, TORTURE
from tests.triton_fixtures import probe_contract, probe_vector, write_probe

pytestmark = [pytest.mark.triton, pytest.mark.timeout(3600)]

ROWS = 320
FEATURES = """\
from feast import Entity, ValueType

from connector import embedding_view
from encoders.contract import EncoderContract

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
probe = EncoderContract.from_json('''{contract}''')
item_text = embedding_view("item_text", entity=item, contract=probe, inputs="title")
"""


@pytest.fixture
def triton(triton_environment: ServerEnvironment, tmp_path: Path) -> Iterator[LocalTriton]:
    """A server of its own, started again by its supervisor when it dies."""
    write_probe(tmp_path / "models", max_batch=16)
    with LocalTriton(tmp_path / "models", triton_environment) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(FEATURE_STORE.format(uri="data/milvus.db"))
    (folder / "features.py").write_text(FEATURES.format(contract=probe_contract().to_json()))
    return folder


def quick(turn: int, row: int) -> str:
    return f"{turn} title {row}"


def slow(turn: int, row: int) -> str:
    """A text that the probe takes 10 ms for."""
    return f"sleep:0.01{turn:02}{row:03}"


def catalogue(turn: int = 0, title: Callable[[int, int], str] = quick) -> pa.Table:
    rows = range(ROWS)
    return pa.table({"item_id": [f"{turn} i{n}" for n in rows], "title": [title(turn, n) for n in rows]})


def opened(folder: Path, proxy: KillingProxy, retries: int = 8) -> Connector:
    settings = TritonSettings(
        mode="server", url=f"127.0.0.1:{proxy.port}", batch_size=16, in_flight=2, retries=retries, timeout_s=20
    )
    return Connector(folder, Settings(triton=settings))


def check(connector: Connector, turns: int, title: Callable[[int, int], str] = quick) -> None:
    """Every item once, with the vector of its own title."""
    store = connector._vector_store()
    spec = store.describe("item_text")
    assert spec is not None
    assert spec.vector is not None
    found = pa.Table.from_batches(store.scan("item_text", ["item_id", spec.vector.name]))
    assert found.num_rows == store.count("item_text") == turns * ROWS
    for row in found.to_pylist():
        turn, item = row["item_id"].split(" i")
        expected = probe_vector(title(int(turn), int(item)))
        assert row[spec.vector.name] == pytest.approx(expected), row["item_id"]


def is_back(server: LocalTriton, restarts: int) -> bool:
    return server._service().ready and server.restarts == restarts


def port(server: LocalTriton) -> int:
    return int(server.grpc_url.rsplit(":", 1)[1])


def test_a_triton_that_is_killed_and_comes_back(triton: LocalTriton, folder: Path) -> None:
    with KillingProxy(port(triton)) as proxy, opened(folder, proxy) as connector:
        connector.apply()
        connector.ingest(catalogue(), entity="item")
        # The first one connects, which those after it need not.
        before = proxy.requests
        assert connector.ingest(catalogue(1), entity="item").views["item_text"].written == ROWS
        total = proxy.requests - before
        for turn, point in enumerate(seeded_points(total, POINTS if TORTURE else 2, seed=21), 2):
            dying, restarts = triton.pid, triton.restarts

            def kill(pid: int = dying) -> None:
                os.kill(pid, signal.SIGKILL)

            proxy.when(point, kill, "before" if turn % 2 else "done")
            report = connector.ingest(catalogue(turn), entity="item")
            assert (report.views["item_text"].written, report.dead_letters) == (ROWS, 0)
            # Killed with its last answer given, it is missed by nobody but its supervisor.
            assert wait_until(partial(is_back, triton, restarts + 1), 60)
            if turn % 3 == 0:
                # Kills without a steady minute between them look like a model that crashes its server, which the
                # supervisor gives up on; a reload begins its count anew.
                triton.reload()
        check(connector, turn + 1)


def stand_still(server: LocalTriton, seconds: float) -> None:
    """Stop the server and its workers as a machine that is moved, or put to sleep, stops them."""
    pids = [server.pid, *(pid for pid, _ in children(server.pid))]
    for number, pause in ((signal.SIGSTOP, seconds), (signal.SIGCONT, 0.0)):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(pause)


def test_a_machine_that_stands_still(triton: LocalTriton, folder: Path) -> None:
    """Triton waits a second for a sign of life of its worker, and a server that missed it mostly dies of it."""
    turns = POINTS if TORTURE else 3
    with KillingProxy(port(triton)) as proxy, opened(folder, proxy) as connector:
        connector.apply()
        for turn in range(turns):
            pause = threading.Timer(0.4 + 0.31 * turn, stand_still, (triton, 1.6))
            pause.start()
            report = connector.ingest(catalogue(turn, slow), entity="item")
            pause.join()
            assert (report.views["item_text"].written, report.dead_letters) == (ROWS, 0)
            assert wait_until(lambda: triton._service().ready, 60)
            if turn % 3 == 2:
                triton.reload()
        check(connector, turns, slow)


def test_a_triton_that_stays_away(triton: LocalTriton, folder: Path) -> None:
    with KillingProxy(port(triton)) as proxy, opened(folder, proxy, retries=1) as connector:
        connector.apply()
        connector.ingest(catalogue(), entity="item")
        proxy.when(7, proxy.refuse)
        with pytest.raises(ServerUnavailableError, match=r"Triton at 127\.0\.0\.1") as error:
            connector.ingest(catalogue(1), entity="item")
        assert "\n" not in str(error.value)
        proxy.refuse(False)
        report = connector.ingest(catalogue(1), entity="item")
        assert report.dead_letters == 0
        check(connector, 2)
