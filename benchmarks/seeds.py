"""Figures of several trainings: intervals of users' means over them, and how far the trainings lie apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.harness import Figure, figure
from connector.evaluation import Interval, UserFigures, difference, interval

SHOWN = ("recall@20", "ndcg@20", "mrr")


def over_seeds(
    found: Mapping[str, Sequence[UserFigures]],
    *,
    beside: Sequence[str],
    prefix: str = "",
    metrics: Sequence[str] = SHOWN,
) -> Iterator[Figure]:
    """Means with 95 % intervals over users, the spread over trainings, and paired differences.

    Args:
        found: name → figures of each training, over the same users; one entry for what is not trained.
        beside: names that the others' first metric is compared with, user by user.
    """
    for name, runs in found.items():
        trainings = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
        for metric in metrics:
            middle = interval(_mean(runs, metric))
            yield with_interval(f"{prefix}{name}: {metric}{trainings}", middle)
        first = metrics[0]
        if len(runs) > 1:
            means = [float(run.by_name[first].mean()) for run in runs]
            spread = Interval(float(np.median(means)), min(means), max(means))
            yield with_interval(f"{prefix}{name}: {first}, lowest and highest seed", spread)
        for other in beside:
            if other != name and other in found:
                gain = difference(_mean(runs, first), _mean(found[other], first))
                yield with_interval(f"{prefix}{name}: {first} beyond {other}, paired", gain)


def with_interval(name: str, middle: Interval, **against: Any) -> Figure:
    """A figure with its bounds.

    Args:
        against: `baseline`, `baseline_value` and `goal` of `figure`.
    """
    return replace(figure(name, middle.mean, "", **against), low=middle.low, high=middle.high)


def _mean(runs: Sequence[UserFigures], metric: str) -> np.ndarray:
    return np.mean([run.by_name[metric] for run in runs], axis=0)
