"""Recall of cross-modal retrieval where several answers may be right."""

from __future__ import annotations

from torch import Tensor


def retrieval_recall(
    queries: Tensor, candidates: Tensor, query_groups: Tensor, candidate_groups: Tensor, k: int
) -> float:
    """Share of queries with a candidate of their own group among the first `k`.

    Args:
        queries: unit vectors [q, dim].
        candidates: unit vectors [c, dim].
        query_groups, candidate_groups: int64 [q], [c]; or [q, m], [c, m], of which one that agrees is enough.
    """
    if not len(queries) or not len(candidates):
        return 0.0
    found = 0
    asked, there = query_groups.reshape(len(queries), -1), candidate_groups.reshape(len(candidates), -1)
    for start in range(0, len(queries), 512):
        scores = queries[start : start + 512] @ candidates.T
        best = scores.topk(min(k, len(candidates)), dim=1).indices
        found += int((there[best] == asked[start : start + 512, None]).flatten(1).any(dim=1).sum())
    return found / len(queries)
