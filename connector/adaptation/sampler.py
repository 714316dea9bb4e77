"""Which rows make up a batch: a function of seed and step alone, so that a resumed job sees what it would have seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

# Multiples of the golden ratio, in 2^64ths: of all sequences they leave no part of the circle unvisited for long.
_TURN = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(1 << 63)


class MixedBatches:
    """Batches with the share of every source; each source is gone through in a new order each time round.

    A share need not be a whole number of rows: a batch then holds one row more or less than it (systematic sampling,
    under an offset that goes round), so that over many batches every source comes as often as it should, however small.

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
        self._size = min(batch_size, self.rows)
        # Rounded, so that shares that are whole numbers stay so.
        self._edges = np.round(np.cumsum(shares / shares.sum()) * self._size, 9) if self.rows else shares
        self._edges[-1:] = self._size
        self._seed = seed
        self._orders: dict[tuple[int, int], Rows] = {}
        self._reached = (0, np.zeros(len(self._sources), np.int64))

    @property
    def batch_size(self) -> int:
        """Rows in a batch."""
        return self._size

    @property
    def lap(self) -> float:
        """Batches after which as many rows have come as there are."""
        return self.rows / self.batch_size

    def rows_of(self, step: int) -> Rows:
        """Row numbers of batch `step` (0, 1, …) → int64 [batch_size]."""
        starts, quotas = self._starts(step), self._quotas(step, step + 1)[0]
        return np.concatenate(
            [self._take(index, int(starts[index]), int(quota)) for index, quota in enumerate(quotas) if quota]
        )

    def _quotas(self, first: int, last: int) -> Rows:
        """Rows of each source in batches `first` to `last` - 1, int64 [batches, sources]; each sums to its size."""
        turned = np.arange(first, last, dtype=np.uint64) * _TURN + _HALF
        offsets = (turned >> np.uint64(11)).astype(float) / 2**53
        ends = np.floor(self._edges + offsets[:, None]).astype(np.int64)
        return np.asarray(np.diff(ends, axis=1, prepend=0), np.int64)

    def _starts(self, step: int) -> Rows:
        """Rows of each source in all batches before `step`, int64 [sources]."""
        reached, taken = self._reached if self._reached[0] <= step else (0, np.zeros(len(self._sources), np.int64))
        for first in range(reached, step, 65536):
            taken = taken + self._quotas(first, min(first + 65536, step)).sum(axis=0)
        self._reached = (step, taken)
        return taken

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


def split(rows: int, share: float, seed: int) -> tuple[Rows, Rows]:
    """Row numbers for training and for validation."""
    order = np.random.default_rng([seed, 0x5A1]).permutation(rows)
    held = round(rows * share)
    return np.sort(order[held:]), np.sort(order[:held])


def split_groups(groups: NDArray[np.int64], others: NDArray[np.int64], share: float, seed: int) -> tuple[Rows, Rows]:
    """Row numbers for training and for validation; what rows held out show is shown by none that is learned from.

    Rows go together that are of one group or have the same other half, and those that go together with them. Of such
    sets, drawn at random, as many are held out as have together at most the share of the rows; if none is so small,
    the smallest, unless it has more than half of them.

    Args:
        groups: int64 [rows], equal where rows show the same thing.
        others: int64 [rows], number of each row's other half.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    whole = len(groups)
    _, first = np.unique(groups, return_inverse=True)
    _, second = np.unique(others, return_inverse=True)
    # Groups and other halves are points, rows the lines between them.
    points = int(first.max()) + 1
    size = points + int(second.max()) + 1
    graph = coo_array((np.ones(whole, np.int64), (first, points + second)), shape=(size, size))
    _, sets = np.unique(connected_components(graph, directed=False)[1][first], return_inverse=True)
    sizes = np.bincount(sets)
    order = np.random.default_rng([seed, 0x5A1]).permutation(len(sizes))
    held: list[int] = []
    taken = 0
    for number in order.tolist():
        if taken + sizes[number] <= share * whole:
            held.append(number)
            taken += int(sizes[number])
    if share and not held:
        smallest = int(order[np.argmin(sizes[order])])
        held = [smallest] if 2 * sizes[smallest] <= whole else []
    chosen = np.isin(sets, held)
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
