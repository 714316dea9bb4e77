"""Pairs out of histories: batches are a function of seed and number alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from connector.adaptation.sampler import MixedBatches
from connector.evaluation.interactions import History

Numbers = NDArray[np.int64]


class CoInteractions:
    """Every step of a history comes once in a lap, with a partner that is drawn anew each time.

    Args:
        histories: item numbers from 0 on, oldest first.
        window: most steps between two items that make a pair.
        longest: most items of a past.
        batch_size: pairs in a batch.
    """

    def __init__(self, histories: list[History], window: int, longest: int, batch_size: int, seed: int) -> None:
        self._histories, self._window, self._longest, self._seed = histories, window, longest, seed
        users = [user for user, history in enumerate(histories) if len(history) > 1]
        self._users = np.repeat(users, [len(histories[user]) - 1 for user in users])
        self._places = np.concatenate([np.arange(1, len(histories[user])) for user in users])
        self._batches = MixedBatches([np.arange(len(self._users))], [None], batch_size, seed)

    @property
    def lap(self) -> float:
        """Batches after which every one of them has come once."""
        return self._batches.lap

    def item_item(self, number: int) -> tuple[Numbers, Numbers]:
        """Two items of one history, numbers + 1, int64 [batch] each; the first is the older one half of the time."""
        rng = np.random.default_rng([self._seed, 0xC01, number])
        first, second = [], []
        for row in self._batches.rows_of(number):
            history, place = self._histories[self._users[row]], int(self._places[row])
            other = place - int(rng.integers(1, min(self._window, place) + 1))
            turned = bool(rng.random() < 0.5)
            first.append(history[place if turned else other])
            second.append(history[other if turned else place])
        return np.asarray(first, np.int64) + 1, np.asarray(second, np.int64) + 1

    def user_item(self, number: int) -> tuple[Numbers, Numbers]:
        """Pasts, numbers + 1, padded with 0 on the left, int64 [batch, longest], and the next items, int64 [batch]."""
        rows = self._batches.rows_of(number)
        pasts = np.zeros((len(rows), self._longest), np.int64)
        following = np.zeros(len(rows), np.int64)
        for place, row in enumerate(rows):
            history, at = self._histories[self._users[row]], int(self._places[row])
            past = history[max(0, at - self._longest) : at] + 1
            pasts[place, self._longest - len(past) :] = past
            following[place] = history[at] + 1
        return pasts, following
