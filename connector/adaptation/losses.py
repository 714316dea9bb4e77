"""Losses over batches of paired vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

HIGHEST_SCALE = 100.0


class Scale(nn.Module):
    """What similarities are multiplied by before a softmax, an inverse temperature; at most 100, as in CLIP.

    Args:
        temperature: to begin with.
        learned: whether it changes while training.
    """

    def __init__(self, temperature: float, *, learned: bool = True) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)), requires_grad=learned)

    def forward(self) -> Tensor:
        """A scalar. Beyond a bound the value stays there, and the gradient passes, so that it can come back."""
        beyond = (self.log_scale.clamp(0, math.log(HIGHEST_SCALE)) - self.log_scale).detach()
        return (self.log_scale + beyond).exp()


def info_nce(left: Tensor, right: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """Symmetric InfoNCE with in-batch negatives.

    Args:
        left, right: unit vectors, each [n, dim]; row i of one belongs to row i of the other.
        scale: inverse temperature, a scalar.
        same: bool [n, n], true where i and j mean the same; such pairs are not counted as negatives.

    Returns:
        Mean over both directions, a scalar.
    """
    logits = scale * left @ right.T
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(same & ~own, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def same_meaning(*labels: Tensor) -> Tensor:
    """bool [n, n], true where any of the labels (each int64 [n]) agrees."""
    agree = [label[:, None] == label[None, :] for label in labels]
    return torch.stack(agree).any(dim=0)


def sharing(first: Tensor, second: Tensor) -> Tensor:
    """bool [n, n], true where two pairs of items (each side int64 [n]) have an item in common, on whichever side."""
    crossed = first[:, None] == second[None, :]
    return same_meaning(first, second) | crossed | crossed.T


def already_chosen(pasts: Tensor, following: Tensor) -> Tensor:
    """bool [n, n], true where what follows past j follows past i too, or is in past i.

    Args:
        pasts: int64 [n, longest], padded with 0.
        following: int64 [n], from 1 on.
    """
    same = same_meaning(following)
    # One step at a time: [n, n, longest] need not fit.
    for step in pasts.T:
        same |= step[:, None] == following[None, :]
    return same
