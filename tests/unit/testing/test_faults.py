"""The fault kit does what it says: a proxy on a plain gRPC server, and children that die where they are told to."""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from connector.testing.faults import Child, FileEvents, KillingProxy, seeded_points


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    """Answers with what it was sent, and remembers it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def echo(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.heard.append(request)
            return request

        return grpc.unary_unary_rpc_method_handler(echo)


@pytest.fixture
def echo() -> Iterator[tuple[Echo, int]]:
    handler = Echo()
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, port
    server.stop(None).wait()


@pytest.fixture
def proxy(echo: tuple[Echo, int]) -> Iterator[KillingProxy]:
    with KillingProxy(echo[1]) as proxy:
        yield proxy


def ask(port: int, *messages: bytes, timeout: float = 10.0) -> list[bytes]:
    """Answers on a connection of their own."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.unary_unary("/echo/Echo")
        return [call(message, timeout=timeout) for message in messages]


def test_requests_are_counted_and_pass_unchanged(proxy: KillingProxy) -> None:
    large = os.urandom(3_000_000)
    assert ask(proxy.port, b"a", large, b"") == [b"a", large, b""]
    assert ask(proxy.port, b"b") == [b"b"]
    assert proxy.requests == 4


def test_late_answers_are_late_once(proxy: KillingProxy) -> None:
    proxy.delay(0.3)
    started = time.monotonic()
    assert ask(proxy.port, b"a") == [b"a"]
    assert 0.3 <= time.monotonic() - started < 3


def test_a_pause_holds_everything_back(proxy: KillingProxy, echo: tuple[Echo, int]) -> None:
    proxy.pause()
    with pytest.raises(grpc.RpcError) as error:
        ask(proxy.port, b"a", timeout=0.3)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert echo[0].heard == []
    proxy.resume()
    assert ask(proxy.port, b"b") == [b"b"]


def test_a_refusal_ends(proxy: KillingProxy) -> None:
    proxy.refuse()
    with pytest.raises(grpc.RpcError) as error:
        ask(proxy.port, b"a", timeout=5)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    proxy.refuse(False)
    assert ask(proxy.port, b"b") == [b"b"]


@pytest.mark.parametrize(
    ("moment", "heard", "answered"),
    [("before", [b"0"], [b"0"]), ("done", [b"0", b"1"], [b"0"]), ("answered", [b"0", b"1"], [b"0", b"1"])],
)
def test_a_reset_at_a_moment_of_a_request(
    proxy: KillingProxy, echo: tuple[Echo, int], moment: str, heard: list[bytes], answered: list[bytes]
) -> None:
    proxy.reset_after(2, moment)  # type: ignore[arg-type]  # parameters are strings
    got: list[bytes] = []
    with grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel:
        call = channel.unary_unary("/echo/Echo")
        for message in (b"0", b"1"):
            try:
                got.append(call(message, timeout=5))
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - the first call may not fail
    assert proxy.fired.wait(5)
    assert echo[0].heard == heard
    assert got == answered


ASKING = """
import sys, grpc
channel = grpc.insecure_channel("127.0.0.1:" + sys.argv[1])
call = channel.unary_unary("/echo/Echo")
for number in range(10):
    call(str(number).encode(), timeout=10)
"""


@pytest.mark.parametrize(("moment", "heard"), [("before", 2), ("done", 3)])
def test_a_child_is_killed_at_a_request(
    proxy: KillingProxy, echo: tuple[Echo, int], tmp_path: Path, moment: str, heard: int
) -> None:
    with Child(["-c", ASKING, str(proxy.port)], log=tmp_path / "log") as child:
        proxy.kill_after(3, child.pid, moment)  # type: ignore[arg-type]  # parameters are strings
        assert child.wait(30) == -signal.SIGKILL
        assert child.killed
    assert len(echo[0].heard) == heard


RENAMING = """
import os, sys
for number in range(5):
    with open(f"{number}.tmp", "w") as file:
        file.write("x")
    os.replace(f"{number}.tmp", f"{number}.done")
"""


def test_a_child_dies_at_a_file_event(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    count = tmp_path / "count"
    events = FileEvents(under=str(work), count_to=str(count))
    with Child(["-c", RENAMING], log=tmp_path / "log", folder=work, dies=events) as child:
        assert child.wait(30) == 0, child.output
    assert count.read_text() == "5"
    for file in work.iterdir():
        file.unlink()
    with Child(["-c", RENAMING], log=tmp_path / "log", folder=work, dies=FileEvents(under=str(work), at=3)) as child:
        child.wait(30)
        assert child.killed
    assert sorted(path.name for path in work.iterdir()) == ["0.done", "1.done", "2.tmp"]


def test_seeded_points_are_the_same_again() -> None:
    assert seeded_points(100, 5, seed=1) == seeded_points(100, 5, seed=1)
    assert seeded_points(100, 5, seed=1) != seeded_points(100, 5, seed=2)
    assert seeded_points(3, 50, seed=1) == [1, 2, 3]


def test_a_child_that_goes_on_is_ended(tmp_path: Path) -> None:
    with Child(["-c", "import time; time.sleep(60)"], log=tmp_path / "log") as child:
        with pytest.raises(TimeoutError, match="still runs"):
            child.wait(0.2)
        assert not child.killed
    assert child.killed


def test_a_proxy_that_closes_leaves_no_connection_open(echo: tuple[Echo, int]) -> None:
    """Whatever they were doing: just taken, ended by the client a moment ago, or still in use."""
    for _ in range(20):
        with KillingProxy(echo[1]) as proxy:
            clients = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(3)]
            for client in clients:
                client.sendall(b"x")
            for client in clients[:2]:
                client.close()
        clients[2].close()
        # What was left open is a warning here, and so an error of this test.
        gc.collect()
