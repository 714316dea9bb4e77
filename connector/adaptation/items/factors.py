"""Collaborative vectors of items: singular vectors of who chose what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix

from connector.errors import TrainingError
from connector.evaluation.interactions import History

PASSES = 8
SPARE = 10


def factors_of(histories: Sequence[History], items: int, factors: int) -> NDArray[np.float32]:
    """Vectors float32 [items, factors] whose inner products come closest to the cosines of items' users.

    The matrix of users and items has each entry divided by the roots of its user's and its item's counts; its right
    singular vectors are scaled by their singular values (PureSVD: Cremonesi et al., RecSys 2010, on that matrix).
    Items nobody chose have zeros.

    Raises:
        TrainingError: fewer users or items than factors.
    """
    rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    columns = np.concatenate([*histories, np.zeros(0, np.int64)])
    found = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(histories), items))
    found.sum_duplicates()
    if factors >= min(found.shape):
        raise TrainingError(f"{found.shape[0]} users and {items} items do not give {factors} factors; ask for fewer")
    by_user, by_item = np.bincount(found.row, minlength=len(histories)), np.bincount(found.col, minlength=items)
    values = torch.from_numpy(1 / np.sqrt(by_user[found.row] * by_item[found.col]))
    places = torch.from_numpy(np.stack([found.row, found.col]).astype(np.int64))
    matrix = torch.sparse_coo_tensor(places, values, found.shape, check_invariants=True).coalesce()
    with torch.random.fork_rng(devices=[]):
        # Randomised (Halko et al. 2011): the same histories give the same factors.
        torch.manual_seed(0)
        kept = min(factors + SPARE, *found.shape)
        _, sizes, vectors = torch.svd_lowrank(matrix, q=kept, niter=PASSES)
    factored = (vectors * sizes).numpy()[:, :factors]
    # A singular vector's sign is arbitrary.
    largest = np.abs(factored).argmax(axis=0)
    return np.asarray(factored * np.sign(factored[largest, np.arange(factors)]), np.float32)
