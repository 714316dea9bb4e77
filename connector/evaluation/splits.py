"""What is learned from and what is asked for: always the past and its future, for each user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connector.errors import CatalogueError
from connector.evaluation.interactions import History


@dataclass(frozen=True)
class Split:
    """Histories cut in two.

    Attributes:
        train: of every user, item numbers, oldest first.
        held: of every user, the items that came after; empty where the history is too short to cut.
        items: how many items there are.
    """

    train: list[History]
    held: list[History]
    items: int

    @property
    def users(self) -> NDArray[np.int64]:
        """Users with something held out."""
        return np.asarray([user for user, held in enumerate(self.held) if len(held)], np.int64)

    def without_validation(self) -> Split:
        """The training part cut again by its last item: for early stopping, which must not see what is held out."""
        return leave_one_out(self.train, self.items)


def time_split(histories: Sequence[History], items: int, share: float = 0.2) -> Split:
    """Hold out the last `share` of each history, at least one item; histories of one item are trained on whole.

    Raises:
        CatalogueError: no user has two interactions.
    """
    return _cut(histories, items, lambda length: max(1, int(length * share)))


def leave_one_out(histories: Sequence[History], items: int) -> Split:
    """Hold out the last item of each history; histories of one item are trained on whole.

    Raises:
        CatalogueError: no user has two interactions.
    """
    return _cut(histories, items, lambda _: 1)


def _cut(histories: Sequence[History], items: int, count: Callable[[int], int]) -> Split:
    train, held = [], []
    for history in histories:
        at = len(history) - (count(len(history)) if len(history) > 1 else 0)
        train.append(history[:at])
        held.append(history[at:])
    if not any(len(part) for part in held):
        raise CatalogueError("no user has two interactions: there is no future to hold out")
    return Split(train, held, items)
