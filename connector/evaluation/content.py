"""Content alone, and the controls that content must beat: the same vectors dealt to other items, and random ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from connector.evaluation.interactions import History

Vectors = NDArray[np.float32]


class ContentMean:
    """Cosine between an item's vector and the mean of the vectors in the history.

    Args:
        vectors: float32 [items, dim]; rows of zeros (items without content) score 0.
        recent: how many of the newest items of a history are used; None all of them.
    """

    def __init__(self, histories: Sequence[History], vectors: Vectors, *, recent: int | None = None) -> None:
        self._histories, self._recent = histories, recent
        self._vectors = unit(vectors)

    def __call__(self, users: NDArray[np.int64]) -> Vectors:
        """Users int64 [n] → scores float32 [n, items]."""
        profiles = np.zeros((len(users), self._vectors.shape[1]), np.float32)
        for row, user in enumerate(users):
            history = self._histories[user][-self._recent :] if self._recent else self._histories[user]
            if len(history):
                profiles[row] = self._vectors[history].mean(axis=0)
        return np.asarray(unit(profiles) @ self._vectors.T, np.float32)


def shuffled(vectors: Vectors, seed: int = 0) -> Vectors:
    """The same vectors, each with another item."""
    return vectors[np.random.default_rng([seed, 0x5F1]).permutation(len(vectors))]


def random_vectors(items: int, dimension: int, seed: int = 0) -> Vectors:
    """Unit vectors that know nothing, float32 [items, dimension]."""
    return unit(np.random.default_rng([seed, 0x5F2]).normal(size=(items, dimension)).astype(np.float32))


def unit(vectors: Vectors) -> Vectors:
    """Rows scaled to unit length; rows of zeros stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)
