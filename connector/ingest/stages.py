"""Threads of a pipeline: bounded, and stopped cleanly from either end."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """A bounded queue between two threads that either side may end."""

    def __init__(self, depth: int) -> None:
        self._items: deque[T] = deque()
        self._depth = depth
        self._change = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Wait for room; False once the other side has closed the channel."""
        with self._change:
            self._change.wait_for(lambda: self._closed or len(self._items) < self._depth)
            if self._closed:
                return False
            self._items.append(item)
            self._change.notify_all()
            return True

    def finish(self, error: BaseException | None = None) -> None:
        """The last item is in; the reader gets what is there, then `error` if there is one."""
        with self._change:
            self._error = self._error or error
            self._closed = True
            self._change.notify_all()

    def discard(self, error: BaseException | None = None) -> None:
        """The reader wants no more: throw away what is queued and turn writers away."""
        with self._change:
            self._items.clear()
        self.finish(error)

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closed or bool(self._items))
                if not self._items:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._items.popleft()
                self._change.notify_all()
            yield item


@contextmanager
def read_ahead(source: Iterable[T], depth: int) -> Generator[Iterator[T], None, None]:
    """Iterate `source` in a thread of its own, at most `depth` items ahead. Its errors come out of the iterator."""
    channel: Channel[T] = Channel(depth)

    def work() -> None:
        iterator = iter(source)
        try:
            for item in iterator:
                if not channel.put(item):
                    break
                del item
            channel.finish()
        except BaseException as error:  # noqa: BLE001 - handed to the reading thread
            channel.finish(error)
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    thread = threading.Thread(target=work, name="ingest-reader", daemon=True)
    thread.start()
    try:
        yield iter(channel)
    finally:
        channel.discard()
        thread.join()


class WriteBehind(Generic[T]):
    """Hands items to `consume` in a thread of its own, at most `depth` items behind.

    An error of `consume` stops it and is raised by the next `put`, or by `finish`.
    """

    def __init__(self, consume: Callable[[T], None], depth: int) -> None:
        self._channel: Channel[T] = Channel(depth)
        self._consume = consume
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="ingest-writer", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Queue one item, waiting for room."""
        if not self._channel.put(item):
            self._raise()

    def finish(self) -> None:
        """Wait until everything queued has been consumed."""
        self._channel.finish()
        self._thread.join()
        self._raise()

    def abandon(self) -> None:
        """Throw away what is queued and wait for the item under way; after `finish`, a no-op."""
        self._channel.discard()
        self._thread.join()

    def _work(self) -> None:
        try:
            for item in self._channel:
                self._consume(item)
                del item
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that puts
            self._error = error
            self._channel.discard()

    def _raise(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error


class StageClock:
    """Seconds spent in each stage, added up over threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Generator[None, None, None]:
        """Add the time inside the block to `stage`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - started
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + passed

    def timed(self, items: Iterable[T], stage: str) -> Iterator[T]:
        """`items`, with the time taken to produce each added to `stage`."""
        iterator = iter(items)
        while True:
            with self.measure(stage):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item
            del item
