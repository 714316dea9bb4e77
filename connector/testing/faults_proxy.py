"""A proxy between a gRPC client and its server that fails on command, at a counted request.

It reads HTTP/2 frame headers to tell requests apart and passes every byte on as it came, so that Milvus and Triton
clients work through it unchanged. Bytes that are not HTTP/2 in the clear are passed on uncounted.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

from connector.testing.faults_frames import Frames

Moment = Literal["before", "done", "answered"]
LINGER_NONE = struct.pack("ii", 1, 0)
READ_S = 0.05
"""Until an answer that was sent is taken for read; a reset at once would overtake it."""


@dataclass
class _Plan:
    """What to do at one request."""

    at: int
    moment: Moment
    action: Callable[[], None]
    cuts: bool


@dataclass(eq=False)
class _Pair:
    """One client connection and its connection to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    numbers: dict[int, int] = field(default_factory=dict)
    pumps: list[asyncio.Future[None]] = field(default_factory=list)


class KillingProxy:
    """TCP proxy on 127.0.0.1, on a free port; start it by `with`, or by `start` and `close`.

        with KillingProxy(19530) as proxy:
            child = Child([...], environment={"MILVUS": proxy.uri}, log=tmp_path / "child.log")
            proxy.kill_after(requests=7, pid=child.pid)

    Requests are gRPC calls, counted from 1 in the order in which they arrive, over all connections. A plan names one
    of them and a moment of it: `before` it reaches the server; `done`, when the server has answered and the client does
    not know it yet; `answered`, when the client has been sent the answer. Nothing of that connection passes after a
    plan that kills or resets.

    Args:
        upstream_port: where the server listens.
        host: the server's address.
    """

    def __init__(self, upstream_port: int, host: str = "127.0.0.1") -> None:
        self._upstream = (host, upstream_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._open = asyncio.Event()
        self._pairs: set[_Pair] = set()
        self._plans: list[_Plan] = []
        self._lock = threading.Lock()
        self._refusing = False
        self._delay = 0.0
        self._rate = 0.0
        self.port: int = self._listener.getsockname()[1]
        self.requests = 0
        self.fired = threading.Event()

    @property
    def uri(self) -> str:
        """`http://127.0.0.1:<port>` of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> KillingProxy:
        """Take connections; those that came before wait until now."""
        self._thread = threading.Thread(target=self._run, name="killing-proxy", daemon=True)
        self._thread.start()
        self._call(self._open.set)
        return self

    def close(self) -> None:
        """End every connection and the proxy; closing twice is fine."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()
        self._listener.close()

    def when(self, requests: int, do: Callable[[], None], moment: Moment = "done") -> None:
        """Call `do` at the request of that number, counted from the next one on; `fired` is set after it.

        It is called by the thread that passes bytes on, so nothing passes until it returns.
        """
        self._plan(requests, do, moment, cuts=False)

    def kill_after(self, requests: int, pid: int, moment: Moment = "done") -> None:
        """SIGKILL the process at the request of that number, counted from the next one on."""
        self._plan(requests, lambda: os.kill(pid, signal.SIGKILL), moment, cuts=True)

    def reset_after(self, requests: int, moment: Moment = "done") -> None:
        """Reset every connection at the request of that number, counted from the next one on."""
        if moment == "answered":
            self._plan(requests, lambda: self._later(self._reset), moment, cuts=False)
        else:
            self._plan(requests, self._reset, moment, cuts=True)

    def delay(self, seconds: float) -> None:
        """Hand every answer over this much later; 0 ends it."""
        self._delay = seconds

    def throttle(self, bytes_per_second: float) -> None:
        """Pass at most so many bytes in each direction of a connection; 0 ends it."""
        self._rate = bytes_per_second

    def pause(self) -> None:
        """Swallow nothing and pass nothing, as a network that drops every packet; connections stay open."""
        self._call(self._open.clear)

    def resume(self) -> None:
        """Pass what was held back, and go on."""
        self._call(self._open.set)

    def reset(self) -> None:
        """Reset every open connection; new ones are welcome."""
        self._call(self._reset)

    def refuse(self, refusing: bool = True) -> None:
        """Reset every open connection and each new one, until `refuse(False)`."""
        self._refusing = refusing
        if refusing:
            self.reset()

    def __enter__(self) -> KillingProxy:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _plan(self, requests: int, do: Callable[[], None], moment: Moment, cuts: bool) -> None:
        with self._lock:
            self._plans.append(_Plan(self.requests + requests, moment, do, cuts))

    def _later(self, action: Callable[[], None]) -> None:
        self._loop.call_later(READ_S, action)

    def _call(self, action: Callable[[], None]) -> None:
        if threading.current_thread() is self._thread:
            return action()
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait(10)
        return None

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._listener))
        try:
            self._loop.run_forever()
        finally:
            self._refusing = True
            # A server that is closed drops connections that it has taken and not handed on yet, and leaves them open.
            self._loop.remove_reader(self._listener.fileno())
            self._loop.run_until_complete(_turns())  # what was just taken is now in the hands of `_serve`
            server.close()
            for pair in self._pairs:
                for pump in pair.pumps:
                    pump.cancel()
            self._reset()
            self._loop.run_until_complete(_turns())
            waiting = asyncio.all_tasks(self._loop)
            for task in waiting:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
            self._loop.run_until_complete(_turns())  # transports close a turn or two later

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            return _abort(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            return _abort(writer)
        except BaseException:
            _abort(writer)
            raise
        pair = _Pair(writer, up_writer)
        self._pairs.add(pair)
        pumps = pair.pumps = [
            asyncio.ensure_future(self._requests(pair, reader)),
            asyncio.ensure_future(self._answers(pair, up_reader)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            # Before anything is waited for: a proxy that closes cancels this task too.
            for one in (pair.client, pair.server):
                one.transport.abort()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        return None

    async def _requests(self, pair: _Pair, reader: asyncio.StreamReader) -> None:
        frames = Frames(client=True)
        while data := await reader.read(65_536):
            for frame in frames.feed(data):
                if frame.begins and self._at(self._number(pair, frame.stream), "before"):
                    return
                await self._pass(pair.server, frame.data, 0.0)

    async def _answers(self, pair: _Pair, reader: asyncio.StreamReader) -> None:
        queue: asyncio.Queue[tuple[float, bytes, int]] = asyncio.Queue()
        sender = asyncio.ensure_future(self._send(pair, queue))
        frames = Frames(client=False)
        try:
            while data := await reader.read(65_536):
                for frame in frames.feed(data):
                    number = pair.numbers.get(frame.stream, 0) if frame.ends else 0
                    if number and self._at(number, "done"):
                        return
                    queue.put_nowait((self._loop.time() + self._delay, frame.data, number))
            await queue.join()
        finally:
            sender.cancel()

    async def _send(self, pair: _Pair, queue: asyncio.Queue[tuple[float, bytes, int]]) -> None:
        while True:
            due, data, number = await queue.get()
            await self._pass(pair.client, data, due - self._loop.time())
            if number:
                self._at(number, "answered")
            queue.task_done()

    async def _pass(self, writer: asyncio.StreamWriter, data: bytes, wait: float) -> None:
        if wait > 0:
            await asyncio.sleep(wait)
        if self._rate:
            await asyncio.sleep(len(data) / self._rate)
        await self._open.wait()
        writer.write(data)
        await writer.drain()

    def _number(self, pair: _Pair, stream: int) -> int:
        with self._lock:
            self.requests += 1
            pair.numbers[stream] = self.requests
            return self.requests

    def _at(self, number: int, moment: Moment) -> bool:
        """Carry out what is planned here → whether the connection ends with it."""
        with self._lock:
            due = [plan for plan in self._plans if plan.at == number and plan.moment == moment]
            self._plans = [plan for plan in self._plans if plan not in due]
        for plan in due:
            plan.action()
            self.fired.set()
        return any(plan.cuts for plan in due)

    def _reset(self) -> None:
        for pair in list(self._pairs):
            _abort(pair.client)
            pair.server.transport.abort()


async def _turns() -> None:
    """Let the loop go round more often than anything that was begun has steps left; time says nothing of that."""
    for _ in range(20):
        await asyncio.sleep(0)


def _abort(writer: asyncio.StreamWriter) -> None:
    """Reset a connection, rather than end it politely."""
    held = writer.get_extra_info("socket")
    if held is not None:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
    writer.transport.abort()
