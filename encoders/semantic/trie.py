"""Which codes may follow which: the ids that exist, as a tree in arrays that are as long as there are nodes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from encoders.errors import EncoderLoadError


class IdTrie(nn.Module):
    """All valid ids.

    Nodes are numbered level by level from the root, 0, and in a level by their codes. So the children of a node are
    neighbours, and so are the leaves below it. A module, so that its tables move with the model that holds it.

    Args:
        ids: int64 [items, levels], every row another id.

    Attributes:
        sizes: how many codes each level has.
        ids: as given.
        codes: int64 [nodes], the code that leads to a node; 0 for the root.

    Raises:
        EncoderLoadError: no ids, a negative code, or one id twice.
    """

    ids: Tensor
    codes: Tensor
    _children: Tensor
    _leaves: Tensor
    _items: Tensor
    _ranks: Tensor

    def __init__(self, ids: NDArray[np.int64]) -> None:
        super().__init__()
        if ids.ndim != 2 or not ids.size or ids.min() < 0:
            raise EncoderLoadError("semantic ids must be codes ≥ 0, [items, levels] of them, and at least one item")
        order = np.lexsort(ids.T[::-1])
        ranked = ids[order]
        fresh = np.ones(ids.shape, bool)
        fresh[1:] = np.logical_or.accumulate(ranked[1:] != ranked[:-1], axis=1)
        if not fresh[:, -1].all():
            raise EncoderLoadError("two items have one semantic id; tell them apart by a further code")
        self.sizes = tuple(int(size) for size in ids.max(axis=0) + 1)
        # Of each level, the root's first: the rank of the first leaf below a node.
        begins = [np.zeros(1, np.int64), *map(np.flatnonzero, fresh.T)]
        places = np.cumsum([len(begin) for begin in begins])
        children = [
            places[level] + np.searchsorted(begins[level + 1], begins[level]) for level in range(len(self.sizes))
        ]
        tables = {
            "ids": ids,
            "codes": np.concatenate([[0], *(ranked[begin, level] for level, begin in enumerate(begins[1:]))]),
            "_children": np.concatenate([*children, places[-1:]]),
            "_leaves": np.stack(
                [np.concatenate(begins), np.concatenate([np.append(begin[1:], len(ids)) for begin in begins])]
            ),
            "_items": order,
            "_ranks": np.argsort(order),
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(table, np.int64)), persistent=False)

    def branches(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """All children of inner nodes, those of one row side by side.

        Args:
            nodes: int64 [n, any], of one level; -1 where there is none.

        Returns:
            Column of `nodes` that a child is of, and the child, -1 where a row has fewer: both int64 [n, width ≥ 1].
        """
        start = self._children[nodes.clamp(min=0)]
        counts = (self._children[nodes.clamp(min=0) + 1] - start).masked_fill(nodes < 0, 0)
        ends = counts.cumsum(1)
        width = max(1, int(ends[:, -1].max()))
        places = torch.arange(width, device=nodes.device).expand(len(nodes), -1).contiguous()
        columns = torch.searchsorted(ends, places, right=True).clamp(max=nodes.shape[1] - 1)
        children = (start + counts - ends).gather(1, columns) + places
        return columns, children.masked_fill(places >= ends[:, -1:], -1)

    def ranks(self, items: Tensor) -> Tensor:
        """Item numbers from 0 on, int64 [n, any], padded with -1 → what `emptied` takes, of the same shape."""
        none = len(self._items)
        ranks = self._ranks[items.clamp(min=0)].masked_fill(items < 0, none).sort(dim=1).values
        # An item that is there twice counts once.
        again = torch.zeros_like(ranks, dtype=torch.bool)
        again[:, 1:] = ranks[:, 1:] == ranks[:, :-1]
        return ranks.masked_fill(again, none).sort(dim=1).values

    def emptied(self, nodes: Tensor, ranks: Tensor) -> Tensor:
        """Whether nodes int64 [n, any] lead to nothing but items of their row in `ranks`, bool [n, any]."""
        first, end = self._leaves[:, nodes.clamp(min=0)].unbind()
        gone = torch.searchsorted(ranks, end) - torch.searchsorted(ranks, first)
        return gone == end - first

    def items(self, leaves: Tensor) -> Tensor:
        """Nodes of the last level, int64, any shape → item numbers from 0 on; -1 stays -1."""
        ranks = self._leaves[0][leaves.clamp(min=0)]
        return self._items[ranks].masked_fill(leaves < 0, -1)


def with_last_code(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Append a code that tells apart items whose codes are the same → int64 [items, levels + 1]."""
    _, groups = np.unique(codes, axis=0, return_inverse=True)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    lengths = np.diff(np.append(starts, len(groups)))
    last = np.empty(len(codes), np.int64)
    last[order] = np.arange(len(codes)) - np.repeat(starts, lengths)
    return np.concatenate([codes, last[:, None]], axis=1)
