"""Going on through what passes: a Milvus that restarts, is late, is not ready yet, or asks to slow down."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from connector.errors import StoreUnavailableError

T = TypeVar("T")
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0


class Effort:
    """One call's attempts, with waits between them that double, differ, and end.

    Args:
        patience_s: seconds without progress after which the call fails.
        first_wait_s: mean of the first wait.
    """

    def __init__(self, patience_s: float, first_wait_s: float = FIRST_WAIT_S) -> None:
        self._patience = patience_s
        self._first_wait = first_wait_s
        self._began = self._since = time.monotonic()
        self._failures = 0
        self.attempts = 0

    @property
    def left_s(self) -> float:
        """Seconds of patience that are left."""
        return self._patience - (time.monotonic() - self._since)

    def progressed(self) -> None:
        """Part of the work is done: the patience and the waits start again."""
        self._since = time.monotonic()
        self._failures = 0

    def call(self, action: Callable[[], T]) -> T:
        """The first result of `action`.

        Raises:
            StoreUnavailableError: no attempt succeeded; says how many there were in how long.
        """

        def attempt() -> T:
            self.attempts += 1
            return action()

        try:
            return attempt()
        except StoreUnavailableError as error:
            failed = [error]

        def again() -> T:
            if failed:
                raise failed.pop()
            return attempt()

        # Made only now: what is not needed by nearly every search would cost each of them a tenth of a millisecond.
        retrying = Retrying(
            retry=retry_if_exception_type(StoreUnavailableError), wait=self._wait, stop=self._stop, reraise=True
        )
        try:
            return retrying(again)
        except StoreUnavailableError as error:
            times = "once" if self.attempts == 1 else f"{self.attempts} times"
            spent = time.monotonic() - self._began
            raise StoreUnavailableError(f"{error}; tried {times} in {spent:.1f} s") from error

    def _wait(self, state: RetryCallState) -> float:
        self._failures += 1
        longest = min(LONGEST_WAIT_S, self._first_wait * 2**self._failures)
        return random.uniform(longest / 4, longest)  # noqa: S311 - spreads the waits of several writers

    def _stop(self, state: RetryCallState) -> bool:
        return state.upcoming_sleep >= self.left_s
