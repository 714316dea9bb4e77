"""Fusion: ranked lists of several spaces → one.

Both methods are order-free over the spaces (contributions are summed exactly) and break ties by key, so the same lists
always give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import fsum
from typing import Literal, NamedTuple, TypeAlias

Key: TypeAlias = "str | int"
FusionMethod = Literal["rrf", "score"]

RRF_CONSTANT = 60
"""The constant of Cormack, Clarke and Büttcher (SIGIR 2009)."""


class Hit(NamedTuple):
    """One item of a ranked list: its key, and a score of which more is better."""

    key: Key
    score: float


def reciprocal_rank_fusion(
    rankings: Mapping[str, Sequence[Hit]], weights: Mapping[str, float], constant: int = RRF_CONSTANT
) -> list[Hit]:
    """Weighted reciprocal rank fusion: the sum over spaces of weight / (constant + rank), ranks from 1.

    Args:
        rankings: hits of each space, best first, each key at most once.
        weights: of each space, ≥ 0.
    """
    return _fuse(rankings, weights, lambda hits: [1.0 / (constant + position) for position in range(1, len(hits) + 1)])


def score_fusion(rankings: Mapping[str, Sequence[Hit]], weights: Mapping[str, float]) -> list[Hit]:
    """Weighted sum of scores, each space's own brought to 0 … 1 by the least and greatest of its hits.

    A key that a space did not return counts 0 there, as its last hit does. Where all hits of a space score the same,
    each counts 1.
    """
    return _fuse(rankings, weights, _min_max)


FUSIONS: Mapping[FusionMethod, Callable[[Mapping[str, Sequence[Hit]], Mapping[str, float]], list[Hit]]] = {
    "rrf": reciprocal_rank_fusion,
    "score": score_fusion,
}


def _fuse(
    rankings: Mapping[str, Sequence[Hit]],
    weights: Mapping[str, float],
    credit: Callable[[Sequence[Hit]], Sequence[float]],
) -> list[Hit]:
    parts: dict[Key, list[float]] = {}
    for space, hits in rankings.items():
        weight = weights[space]
        if weight == 0:
            continue
        for hit, value in zip(hits, credit(hits), strict=True):
            parts.setdefault(hit.key, []).append(weight * value)
    fused = [Hit(key, fsum(values)) for key, values in parts.items()]
    fused.sort(key=lambda hit: (-hit.score, hit.key))
    return fused


def _min_max(hits: Sequence[Hit]) -> list[float]:
    if not hits:
        return []
    scores = [hit.score for hit in hits]
    low, high = min(scores), max(scores)
    spread = high - low
    return [(score - low) / spread if spread > 0 else 1.0 for score in scores]
