"""A few threads of an encoder, shared by everyone who calls it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")


class Workers:
    """Runs the parts of a batch, several at once.

    Args:
        count: threads; with one, everything runs in the caller's.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def each(self, work: Callable[[Task], None], tasks: Sequence[Task]) -> None:
        """Do `work` on every task; the first error is raised once all have ended.

        A single task runs in the caller's thread: a query waits for nobody's batch.
        """
        if self._count < 2 or len(tasks) < 2:
            for task in tasks:
                work(task)
            return
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="encoder")
            futures = [self._pool.submit(work, task) for task in tasks]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]

    def close(self) -> None:
        """End the threads; they are started again if need be."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
