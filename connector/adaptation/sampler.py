"""Which rows make up a batch: a function of seed and step alone, so that a resumed job sees what it would have seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class MixedBatches:
    """Batches with a fixed share of every source; each source is gone through in a new order each time round.

    Args:
        sources: row numbers of each source.
        weights: share of each relative to the others; None: by number of rows.
        batch_size: rows in a batch; fewer when there are fewer rows in all.
    """

    def __init__(self, sources: Sequence[Rows], weights: Sequence[float | None], batch_size: int, seed: int) -> None:
        self._sources = [rows for rows in sources if len(rows)]
        kept = [weight for rows, weight in zip(sources, weights, strict=True) if len(rows)]
        shares = np.asarray([len(r) if w is None else w for r, w in zip(self._sources, kept, strict=True)], float)
        if any(weight is not None for weight in kept):
            given = [weight for weight in kept if weight is not None]
            shares = np.asarray([np.mean(given) if weight is None else weight for weight in kept])
        self.rows = sum(len(rows) for rows in self._sources)
        self._quotas = _round(shares / shares.sum() * min(batch_size, self.rows))
        self._seed = seed
        self._orders: dict[tuple[int, int], Rows] = {}

    @property
    def batch_size(self) -> int:
        """Rows in a batch."""
        return sum(self._quotas)

    @property
    def lap(self) -> float:
        """Batches after which as many rows have come as there are."""
        return self.rows / self.batch_size

    def rows_of(self, step: int) -> Rows:
        """Row numbers of batch `step` (0, 1, …) → int64 [batch_size]."""
        return np.concatenate(
            [self._take(index, step * quota, quota) for index, quota in enumerate(self._quotas) if quota]
        )

    def _take(self, source: int, start: int, count: int) -> Rows:
        length = len(self._sources[source])
        taken = [self._order(source, position // length)[position % length] for position in range(start, start + count)]
        return np.asarray(taken, dtype=np.int64)

    def _order(self, source: int, lap: int) -> Rows:
        key = (source, lap)
        if key not in self._orders:
            self._orders = {old: rows for old, rows in self._orders.items() if old[0] != source or old[1] == lap - 1}
            rng = np.random.default_rng([self._seed, source, lap])
            self._orders[key] = rng.permutation(self._sources[source])
        return self._orders[key]


def _round(shares: NDArray[np.float64]) -> list[int]:
    """Whole numbers with the same sum, each within one of its share; the sum is at least one."""
    whole = np.floor(shares).astype(int)
    rest = max(1, round(float(shares.sum()))) - int(whole.sum())
    whole[np.argsort(whole - shares, kind="stable")[:rest]] += 1
    return [int(value) for value in whole]


def split(rows: int, share: float, seed: int) -> tuple[Rows, Rows]:
    """Row numbers for training and for validation."""
    order = np.random.default_rng([seed, 0x5A1]).permutation(rows)
    held = round(rows * share)
    return np.sort(order[held:]), np.sort(order[:held])
