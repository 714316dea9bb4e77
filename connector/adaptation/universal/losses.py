"""Losses of universal sequence pretraining."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from connector.adaptation.losses import info_nce, same_meaning
from encoders.towers.universal import UniversalTower


def next_content_loss(tower: UniversalTower, states: Tensor, windows: Tensor, scale: float, everything: bool) -> Tensor:
    """Cross-entropy of each step's next item among the items that come next somewhere in the batch, or among all.

    UniSRec's sequence–item contrast asks for the last step only; a causal transformer can be asked at every one. Items
    are distinct, so that none is a step's target and its negative at once.

    Args:
        states: unit states of `windows[:, :-1]`, float32 [n, steps, dim].
        windows: int64 [n, steps + 1], padded with 0 on the left.
        scale: inverse temperature.
        everything: all items compete.
    """
    inputs, targets = windows[:, :-1], windows[:, 1:]
    asked = (inputs > 0) & (targets > 0)
    wanted = targets[asked]
    if everything:
        return functional.cross_entropy(scale * states[asked] @ tower.item_vectors().T, wanted - 1)
    candidates, places = torch.unique(wanted, return_inverse=True)
    return functional.cross_entropy(scale * states[asked] @ tower.item_vectors(candidates).T, places)


def changed_history_loss(
    tower: UniversalTower,
    states: Tensor,
    windows: Tensor,
    scale: float,
    *,
    item_drop: float,
    value_drop: float,
    generator: torch.Generator,
) -> Tensor:
    """Symmetric InfoNCE between histories and their changed selves; those with one next item are no negatives.

    Half of the histories lose items (never the newest), the others numbers of their content vectors.

    Args:
        states, windows, scale: as for `next_content_loss`.
        generator: on the CPU, so that every device sees the same changes.
    """
    inputs = windows[:, :-1]
    rows = inputs[:, -1] > 0
    inputs = inputs[rows]

    def draw(shape: torch.Size | tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=generator).to(windows.device)

    items_go = draw((len(inputs), 1)) < 0.5
    gone = items_go & (draw(inputs.shape) < item_drop)
    gone[:, -1] = False
    changed = inputs.masked_fill(gone, 0)
    content = tower.content[changed]
    kept = (draw(content.shape) >= value_drop) / (1 - value_drop)
    content = torch.where(items_go.unsqueeze(-1), content, content * kept)
    other = tower.states(changed, content)[:, -1]
    same = same_meaning(windows[rows, -1])
    return info_nce(states[rows, -1], other, torch.tensor(scale, device=states.device), same)
