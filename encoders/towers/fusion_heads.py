"""Heads that make one vector of several: concatenation behind a projection, and gated attention.

Where a member's vectors have the length of the result they start as the plain mean of what is there: members that
share a space are a good answer from the first step on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

HeadKind = Literal["concatenation", "gated"]
NEVER = -1e9


class ConcatenationHead(nn.Module):
    """Vectors side by side through a projection, and a small network over the same that says what to change in it.

    Absent vectors are zeros; the network is told which are there.
    """

    def __init__(self, sizes: Sequence[int], dimension: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.projection = nn.Linear(sum(sizes), dimension, bias=False)
        self.network = nn.Sequential(
            nn.Linear(sum(sizes) + len(sizes), hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dimension)
        )
        with torch.no_grad():
            for block, size in zip(torch.split(self.projection.weight, list(sizes), dim=1), sizes, strict=True):
                start_as_identity(block, size, dimension)
            for parameter in self.network[-1].parameters():
                parameter.zero_()

    def forward(self, vectors: Sequence[Tensor], present: Tensor) -> Tensor:
        """Unit vectors, zeros where absent, each [n, size]; present bool [n, members] → [n, dimension]."""
        there = present.to(vectors[0].dtype)
        together = torch.cat(list(vectors), dim=1)
        count = there.sum(dim=1, keepdim=True).clamp(min=1)
        fused: Tensor = self.projection(together) / count + self.network(torch.cat([together, there], dim=1))
        return fused


class GatedHead(nn.Module):
    """Gated attention over the modalities that are there (Ilse, Tomczak and Welling, ICML 2018)."""

    def __init__(self, sizes: Sequence[int], dimension: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(size, dimension, bias=False) for size in sizes)
        self.content = nn.Linear(dimension, hidden)
        self.gate = nn.Linear(dimension, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(len(sizes)))
        self.drop = nn.Dropout(dropout)
        with torch.no_grad():
            for projection, size in zip(self.projections, sizes, strict=True):
                start_as_identity(projection.get_parameter("weight"), size, dimension)
            self.score.weight.zero_()

    def forward(self, vectors: Sequence[Tensor], present: Tensor) -> Tensor:
        """Unit vectors, zeros where absent, each [n, size]; present bool [n, members] → [n, dimension]."""
        projected, weights = self._weighed(vectors, present)
        return (weights[:, :, None] * projected).sum(dim=1)

    def weights(self, vectors: Sequence[Tensor], present: Tensor) -> Tensor:
        """What each modality weighs, [n, members]; 0 for absent ones, 1 in sum."""
        return self._weighed(vectors, present)[1]

    def _weighed(self, vectors: Sequence[Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
        made = [project(vector) for project, vector in zip(self.projections, vectors, strict=True)]
        projected = torch.stack(made, dim=1)
        states = self.drop(torch.tanh(self.content(projected)) * torch.sigmoid(self.gate(projected)))
        scores = self.score(states).squeeze(-1) + self.bias
        weights = scores.masked_fill(~present, NEVER).softmax(dim=1)
        return projected, weights


def start_as_identity(weight: Tensor, size: int, dimension: int) -> None:
    """Fill a square weight [dimension, size] with the identity; leave any other as it is."""
    if size == dimension:
        weight.copy_(torch.eye(dimension))


HEADS: dict[str, type[ConcatenationHead] | type[GatedHead]] = {"concatenation": ConcatenationHead, "gated": GatedHead}
