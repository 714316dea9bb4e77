"""A model that writes the semantic id of the next item, code by code, and only ids that exist.

A causal transformer reads the items; from its state a small network writes one code after the other (the two-stage
design of Lee et al., CVPR 2022). As semantic ids of a recommender: Rajput et al., NeurIPS 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.semantic.trie import IdTrie
from encoders.towers.history import HistoryTransformer, Shape


class SemanticIdModel(nn.Module):
    """Histories of item numbers (1 …, 0 is padding) to the codes of what comes next.

    Args:
        trie: the ids of all items, by number.
        shape: sizes of the transformer; causal.
    """

    def __init__(self, trie: IdTrie, shape: Shape) -> None:
        super().__init__()
        self.trie, self.shape = trie, shape
        self.read = nn.ModuleList(nn.Embedding(size, shape.hidden) for size in trie.sizes)
        self.written = nn.ModuleList(nn.Embedding(size, shape.hidden) for size in trie.sizes[:-1])
        for table in [*self.read, *self.written]:
            nn.init.normal_(table.weight, std=0.02)
        self.history = HistoryTransformer(shape)
        self.depth = nn.ModuleList(_head(shape, size) for size in trie.sizes)

    def states(self, items: Tensor) -> Tensor:
        """Numbers int64 [n, length], padded on the left → states float32 [n, length, hidden]."""
        states: Tensor = self.history(*self._steps(items))
        return states

    def _steps(self, items: Tensor) -> tuple[Tensor, Tensor]:
        there = items > 0
        codes = self.trie.ids[(items - 1).clamp(min=0)]
        steps = torch.stack([table(codes[..., level]) for level, table in enumerate(self.read)]).sum(dim=0)
        return steps * there.unsqueeze(-1), there

    def loss(self, windows: Tensor) -> Tensor:
        """Mean over steps of the cross-entropy of the next item's id, all its codes together.

        Args:
            windows: int64 [n, steps + 1], padded with 0 on the left.
        """
        inputs, targets = windows[:, :-1], windows[:, 1:]
        asked = (inputs > 0) & (targets > 0)
        state, codes = self.states(inputs)[asked], self.trie.ids[targets[asked] - 1]
        total = torch.zeros((), device=state.device)
        for level in range(len(self.trie.sizes)):
            total = total + functional.cross_entropy(self.depth[level](state), codes[:, level])
            if level < len(self.written):
                state = state + self.written[level](codes[:, level])
        return total

    @torch.no_grad()
    def generate(self, items: Tensor, beams: int, without: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Beam search over the ids that exist.

        Args:
            items: histories, int64 [n, length], padded with 0 on the left.
            beams: ids kept at each level, and found in the end.
            without: of each history, item numbers from 0 on that must not be found, int64 [n, any], padded with -1.
                They take no room in the beam: a code that only leads to them is not followed.

        Returns:
            Item numbers from 0 on, int64 [n, beams], best first, -1 where there are fewer ids; log-probabilities
            float32 [n, beams], -inf there. With `beams` at least the number of items the ranking is exact.
        """
        state = self.history.newest(*self._steps(items)).unsqueeze(1)
        node = torch.zeros(len(state), 1, dtype=torch.int64, device=state.device)
        score = torch.zeros(len(state), 1, device=state.device)
        closed = None if without is None else self.trie.ranks(without)
        for level, size in enumerate(self.trie.sizes):
            beam, node = self.trie.branches(node)
            if closed is not None:
                node = node.masked_fill(self.trie.emptied(node, closed), -1)
            code = self.trie.codes[node.clamp(min=0)]
            chances = torch.log_softmax(self.depth[level](state), dim=-1).flatten(1).gather(1, beam * size + code)
            scores = (score.gather(1, beam) + chances).masked_fill(node < 0, -torch.inf)
            score, picked = scores.topk(min(beams, scores.shape[1]), dim=1)
            node, code, beam = (part.gather(1, picked) for part in (node, code, beam))
            if level < len(self.written):
                kept = beam.unsqueeze(-1).expand(-1, -1, state.shape[-1])
                state = state.gather(1, kept) + self.written[level](code)
        rest = (0, beams - node.shape[1])
        return functional.pad(self.trie.items(node), rest, value=-1), functional.pad(score, rest, value=-torch.inf)


def _head(shape: Shape, size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(shape.hidden, 2 * shape.hidden), nn.GELU(), nn.Linear(2 * shape.hidden, size))
