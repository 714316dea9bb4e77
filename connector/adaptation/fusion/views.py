"""Two views of each item of a batch: which of its modalities each is shown."""

from __future__ import annotations

import torch
from torch import Tensor

WHOLE = 0.5
"""Share of the second views that show all there is, as an item does when it is stored."""


def two_views(present: Tensor, keep: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random part of each item (modality dropout), and the whole of it or what the first left out.

    Args:
        present: bool [n, members], at least one in each row.
        keep: probability that a modality is kept in the first view.

    Returns:
        bool [n, members] each, at least one in each row and none that is not there.
    """
    first = present & (torch.rand(present.shape, generator=generator) < keep)
    # One of those that are there, for rows that would be shown nothing.
    lots = torch.rand(present.shape, generator=generator).masked_fill(~present, -1)
    chosen = torch.zeros_like(present).scatter_(1, lots.argmax(dim=1, keepdim=True), True)
    first = torch.where(first.any(dim=1, keepdim=True), first, chosen)
    rest = present & ~first
    whole = torch.rand(len(present), 1, generator=generator) < WHOLE
    second = torch.where(whole | ~rest.any(dim=1, keepdim=True), present, rest)
    return first, second
