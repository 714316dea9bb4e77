"""Threads end, whoever stops first, and an error arrives where the caller is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from connector.ingest.stages import StageClock, WriteBehind, read_ahead


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("ingest-")}


def test_items_arrive_in_order_and_the_thread_ends() -> None:
    with read_ahead(iter(range(100)), 3) as items:
        assert list(items) == list(range(100))
    assert threads() == set()


def test_the_reader_runs_a_bounded_step_ahead() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with read_ahead(source(), 2) as items:
        assert next(items) == 0
        time.sleep(0.1)
        assert len(made) <= 4
    assert len(made) <= 5


def test_a_source_that_fails_gives_what_came_before_then_its_error() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise RuntimeError("broken")

    seen: list[int] = []
    with read_ahead(source(), 5) as items, pytest.raises(RuntimeError, match="broken"):
        seen.extend(items)
    assert seen == [1]
    assert threads() == set()


def test_leaving_early_closes_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with read_ahead(source(), 1) as items:
        next(items)
    assert closed.is_set()
    assert threads() == set()


def test_everything_written_behind_is_written() -> None:
    done: list[int] = []
    writer = WriteBehind(done.append, 2)
    for number in range(50):
        writer.put(number)
    writer.finish()
    writer.abandon()
    assert done == list(range(50))
    assert threads() == set()


def _put_many(writer: WriteBehind[int]) -> None:
    for number in range(1000):
        writer.put(number)


def test_a_writer_that_fails_tells_the_next_put_and_never_blocks() -> None:
    def consume(item: int) -> None:
        raise OSError("disk full")

    writer = WriteBehind(consume, 1)
    with pytest.raises(OSError, match="disk full"):
        _put_many(writer)
    with pytest.raises(OSError, match="disk full"):
        writer.finish()
    assert threads() == set()


def test_a_writer_that_fails_last_tells_finish() -> None:
    def consume(item: int) -> None:
        raise OSError("disk full")

    writer = WriteBehind(consume, 1)
    writer.put(1)
    with pytest.raises(OSError, match="disk full"):
        writer.finish()


def test_abandoning_throws_the_queue_away() -> None:
    done: list[int] = []
    gate = threading.Event()

    def consume(item: int) -> None:
        gate.wait(5)
        done.append(item)

    writer = WriteBehind(consume, 4)
    for number in range(4):
        writer.put(number)
    time.sleep(0.05)
    threading.Timer(0.1, gate.set).start()
    writer.abandon()
    assert len(done) <= 1
    assert threads() == set()


def test_the_clock_adds_up() -> None:
    clock = StageClock()

    def slow() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.01)
            yield number

    assert list(clock.timed(slow(), "read")) == [0, 1, 2]
    assert 0.03 <= clock.seconds["read"] < 1
