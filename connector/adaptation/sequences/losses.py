"""Losses over windows of histories, all with the softmax over every item there is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from encoders.towers.sequence import SequenceTower


def next_item_loss(tower: SequenceTower, windows: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of each step's next item (SASRec with the full softmax: Klenitskiy and Vasilev, RecSys 2023).

    Args:
        windows: int64 [n, steps + 1], padded with 0 on the left.
        scale: factor of the scores; one for vectors that are not normalised.
    """
    inputs, targets = windows[:, :-1], windows[:, 1:]
    asked = (inputs > 0) & (targets > 0)
    states = tower.states(inputs)[asked]
    return functional.cross_entropy(scale * states @ tower.item_vectors().T, targets[asked] - 1)


def masked_item_loss(
    tower: SequenceTower, windows: Tensor, scale: Tensor, *, masked: float, last: float, generator: torch.Generator
) -> Tensor:
    """Cross-entropy of the items that were masked.

    Args:
        windows: int64 [n, steps], padded with 0 on the left.
        masked: share of items to mask; at least one of each window is.
        last: share of windows in which the newest item alone is masked.
        generator: on the CPU, so that every device sees the same masks.
    """
    chances = torch.rand(windows.shape, generator=generator).to(windows.device)
    alone = (torch.rand(len(windows), 1, generator=generator) < last).to(windows.device)
    there = windows > 0
    least = chances.masked_fill(~there, 2.0).argmin(dim=1, keepdim=True)
    hidden = (chances < masked) | torch.zeros_like(there).scatter(1, least, torch.ones_like(there[:, :1]))
    newest = torch.zeros_like(there)
    newest[:, -1] = True
    hidden = torch.where(alone, newest, hidden) & there
    states = tower.states(windows.masked_fill(hidden, tower.mask))[hidden]
    return functional.cross_entropy(scale * states @ tower.item_vectors().T, windows[hidden] - 1)
