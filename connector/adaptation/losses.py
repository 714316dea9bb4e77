"""Losses over batches of paired vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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
