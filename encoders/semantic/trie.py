"""Which codes may follow which: the ids that exist, as a tree in arrays."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.errors import EncoderLoadError


class IdTrie:
    """All valid ids.

    Args:
        ids: int64 [items, levels], every row another id.

    Attributes:
        sizes: how many codes each level has.
        children: of each level, int64 [nodes, codes]: node of the next level, or item, -1 where no id goes on that way.
        paths: of each level, int64 [items]: the node (at last the item) that the item's id leads to.

    Raises:
        EncoderLoadError: no ids, a negative code, or one id twice.
    """

    def __init__(self, ids: NDArray[np.int64]) -> None:
        if ids.ndim != 2 or not ids.size or ids.min() < 0:
            raise EncoderLoadError("semantic ids must be codes ≥ 0, [items, levels] of them, and at least one item")
        if len(np.unique(ids, axis=0)) < len(ids):
            raise EncoderLoadError("two items have one semantic id; tell them apart by a further code")
        self.ids = ids
        self.sizes = tuple(int(size) for size in ids.max(axis=0) + 1)
        self.children: list[Tensor] = []
        self.paths: list[Tensor] = []
        nodes = np.zeros(len(ids), np.int64)
        for level, size in enumerate(self.sizes):
            last = level == len(self.sizes) - 1
            flat = nodes * size + ids[:, level]
            found, numbers = np.unique(flat, return_inverse=True)
            table = np.full(((int(nodes.max()) + 1) * size,), -1, np.int64)
            if last:
                table[flat] = np.arange(len(ids))
            else:
                table[found] = np.arange(len(found))
                nodes = numbers.astype(np.int64)
            self.paths.append(torch.from_numpy(np.arange(len(ids)) if last else nodes))
            self.children.append(torch.from_numpy(table.reshape(-1, size)))


def with_last_code(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Append a code that tells apart items whose codes are the same → int64 [items, levels + 1]."""
    _, groups = np.unique(codes, axis=0, return_inverse=True)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    lengths = np.diff(np.append(starts, len(groups)))
    last = np.empty(len(codes), np.int64)
    last[order] = np.arange(len(codes)) - np.repeat(starts, lengths)
    return np.concatenate([codes, last[:, None]], axis=1)
