"""The last layer of a trained tower in closed form: ridge regression from pooled features onto the words' vectors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from encoders.towers.image import ImageTower


def refit_projection(tower: ImageTower, batches: Iterable[tuple[Tensor, Tensor]], strength: float) -> None:
    """Replace the tower's projection by the one that lies nearest to the words, in squares.

    Contrastive training stops pulling at a pair once it is told apart from the others of its batch. What is told apart
    by little, such as two kinds of apple, is better placed by least squares over all rows at once.

    Args:
        batches: `pixel_values` [n, 3, H, W] with unit vectors of words [n, dim].
        strength: of the ridge, on features scaled to deviation 1.
    """
    tower.eval()
    features, words = [], []
    with torch.no_grad():
        for pictures, targets in batches:
            features.append(tower.pool(pictures).cpu().double())
            words.append(targets.cpu().double())
    x, y = torch.cat(features), torch.cat(words)
    centre, spread, middle = x.mean(dim=0), x.std(dim=0) + 1e-6, y.mean(dim=0)
    scaled = (x - centre) / spread
    square = scaled.T @ scaled + strength * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(square, scaled.T @ (y - middle)) / spread[:, None]
    projection = nn.Linear(x.shape[1], y.shape[1])
    with torch.no_grad():
        projection.weight.copy_(weights.T)
        projection.bias.copy_(middle - centre @ weights)
    tower.projection = projection.to(next(tower.parameters()).device)
