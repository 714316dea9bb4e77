"""Full ranking: every item there is competes, nothing is sampled.

Sampled candidates order models differently from full ranking (Krichene and Rendle, KDD 2020): there is no such option.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connector.errors import CatalogueError
from connector.evaluation.bootstrap import Interval, interval
from connector.evaluation.splits import Split

Figures = NDArray[np.float64]
Scorer = Callable[[NDArray[np.int64]], NDArray[np.float32]]
CUTS = (10, 20)
USERS = 256


@dataclass(frozen=True)
class UserFigures:
    """Figures of each user, so that intervals and paired differences can be taken.

    Attributes:
        users: int64 [n], the users evaluated.
        by_name: `recall@10`, `ndcg@10`, …, `mrr` → float64 [n], each in 0 … 1.
        top: int64 [n, max cut], the items ranked first.
    """

    users: NDArray[np.int64]
    by_name: dict[str, Figures]
    top: NDArray[np.int64]

    def interval(self, name: str, *, seed: int = 0) -> Interval:
        """Mean over users with its 95 % interval."""
        return interval(self.by_name[name], seed=seed)

    def means(self) -> dict[str, float]:
        """Mean over users of every figure."""
        return {name: float(values.mean()) for name, values in self.by_name.items()}


def evaluate(scorer: Scorer, split: Split, *, cuts: Sequence[int] = CUTS, exclude_seen: bool = True) -> UserFigures:
    """Rank all items for every user with something held out that can be found.

    recall@k is the share of the held-out items among the first k; ndcg@k has gain 1 for each of them and the best
    order possible as its ideal (Järvelin and Kekäläinen 2002); mrr is one over the rank of the first. Equal scores are
    ordered by item number.

    Args:
        scorer: users int64 [n] → scores float32 [n, items]; higher is better.
        exclude_seen: leave out what is in the user's training history. Held-out items that are in it are not asked
            for, nor are users who have no others.

    Raises:
        CatalogueError: scores of another shape, or not numbers; or nobody to ask.
    """
    users = _askable(split) if exclude_seen else split.users
    if not len(users):
        raise CatalogueError("no user has an item held out that was not in the history before: nothing can be ranked")
    parts: dict[str, list[float]] = {f"{name}@{k}": [] for k in cuts for name in ("recall", "ndcg")}
    parts["mrr"] = []
    tops: list[NDArray[np.int64]] = []
    for start in range(0, len(users), USERS):
        batch = users[start : start + USERS]
        scores = np.array(scorer(batch), np.float32)
        if scores.shape != (len(batch), split.items) or np.isnan(scores).any():
            raise CatalogueError(f"scores {scores.shape} are not numbers of shape {(len(batch), split.items)}")
        for row, user in enumerate(batch):
            if exclude_seen:
                scores[row, split.train[user]] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")
        tops.append(order[:, : max(cuts)])
        for row, user in enumerate(batch):
            ranks = _ranks(order[row], split.held[user], split.train[user] if exclude_seen else None)
            for name, value in _figures(ranks, cuts).items():
                parts[name].append(value)
    return UserFigures(users, {name: np.asarray(values) for name, values in parts.items()}, np.concatenate(tops))


def _askable(split: Split) -> NDArray[np.int64]:
    """Users with something held out that is not in their training history."""
    asked = [user for user in split.users if len(np.setdiff1d(split.held[user], split.train[user]))]
    return np.asarray(asked, np.int64)


def _ranks(order: NDArray[np.int64], held: NDArray[np.int64], seen: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Positions (from 0) of the distinct held-out items; those seen before cannot be found and are not asked for."""
    wanted = np.unique(held) if seen is None else np.setdiff1d(held, seen)
    return np.flatnonzero(np.isin(order, wanted))


def _figures(ranks: NDArray[np.int64], cuts: Sequence[int]) -> dict[str, float]:
    found: dict[str, float] = {}
    for k in cuts:
        hits = ranks[ranks < k]
        ideal = (1 / np.log2(np.arange(min(k, len(ranks))) + 2)).sum()
        found[f"recall@{k}"] = len(hits) / len(ranks)
        found[f"ndcg@{k}"] = float((1 / np.log2(hits + 2)).sum() / ideal)
    found["mrr"] = 1 / (float(ranks.min()) + 1)
    return found
