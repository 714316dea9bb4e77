"""Baselines that every job is shown beside: popularity, item neighbours, EASE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from connector.evaluation.interactions import History


class Popularity:
    """Scores by how many interactions an item had; the same for everyone."""

    def __init__(self, histories: Sequence[History], items: int) -> None:
        self._counts = np.bincount(np.concatenate([*histories, np.zeros(0, np.int64)]), minlength=items)

    def __call__(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Users int64 [n] → scores float32 [n, items]."""
        return np.tile(self._counts.astype(np.float32), (len(users), 1))


class ItemKnn:
    """Sum of cosine similarities to the items in the history (Sarwar et al. 2001).

    Args:
        neighbours: most similar items kept for each item.
        shrink: added to the denominator, so that similarities that rest on few users count less.
    """

    def __init__(
        self, histories: Sequence[History], items: int, *, neighbours: int = 100, shrink: float = 10.0
    ) -> None:
        self._matrix = _matrix(histories, items)
        gram = np.asarray((self._matrix.T @ self._matrix).todense(), np.float32)
        norms = np.sqrt(gram.diagonal())
        gram /= norms[:, None] * norms[None, :] + shrink + 1e-9
        np.fill_diagonal(gram, 0)
        if neighbours < items:
            least = np.partition(gram, items - neighbours, axis=1)[:, items - neighbours, None]
            gram[gram < least] = 0
        self._weights = csr_matrix(gram)

    def __call__(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Users int64 [n] → scores float32 [n, items]."""
        return np.asarray((self._matrix[users] @ self._weights.T).todense(), np.float32)


class Ease:
    """Embarrassingly shallow autoencoder: ridge regression from items to items without self-weights (Steck, WWW 2019).

    Args:
        regularisation: of the ridge; larger for sparser data.
    """

    def __init__(self, histories: Sequence[History], items: int, *, regularisation: float = 200.0) -> None:
        self._matrix = _matrix(histories, items)
        # Items that nobody chose have no weights; leaving them out shrinks the matrix to invert.
        self._chosen = np.flatnonzero(np.asarray(self._matrix.sum(axis=0)).ravel() > 0)
        chosen = self._matrix[:, self._chosen]
        gram = np.asarray((chosen.T @ chosen).todense(), np.float64)
        gram[np.diag_indices_from(gram)] += regularisation
        inverse = np.linalg.inv(gram)
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0)
        self._weights = weights.astype(np.float32)

    def __call__(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Users int64 [n] → scores float32 [n, items]; items nobody chose come last."""
        known = np.asarray(self._matrix[users][:, self._chosen] @ self._weights, np.float32)
        scores = np.full((len(users), self._matrix.shape[1]), known.min() - 1 if known.size else 0, np.float32)
        scores[:, self._chosen] = known
        return scores


def _matrix(histories: Sequence[History], items: int) -> csr_matrix:
    """Binary float32 [users, items]."""
    rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    columns = np.concatenate([*histories, np.zeros(0, np.int64)])
    matrix = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(histories), items))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
