"""Intervals of means over users, by resampling users (Efron 1979)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean and the 2.5th and 97.5th percentile of its resamples."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(values: NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Interval of the mean of `values`, float64 [n] with n ≥ 1."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(values), (resamples, len(values)))
    low, high = np.percentile(values[rows].mean(axis=1), (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high))


def difference(values: NDArray[np.float64], others: NDArray[np.float64], *, seed: int = 0) -> Interval:
    """Interval of the mean of `values - others`, both float64 [n] over the same users."""
    return interval(values - others, seed=seed)
