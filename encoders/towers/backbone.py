"""What towers over media share: a pretrained backbone, its pooled states, an optional projection, unit length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class BackboneTower(nn.Module):
    """A backbone's pooled states to vectors. A subclass says how states are pooled, in `pool`.

    Args:
        backbone: a transformers model, or a tower of another medium.
        projection: a further linear map of the pooled states, hidden → dim.
        normalize: whether vectors are scaled to unit L2 norm.
        aligned_with: hashes of contracts whose space these vectors were trained into.
    """

    def __init__(
        self, backbone: Any, *, projection: nn.Linear | None, normalize: bool, aligned_with: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.projection = projection
        self.normalize = normalize
        self.aligned_with = tuple(aligned_with)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        if self.projection is not None:
            return self.projection.out_features
        device = next(self.parameters()).device
        with torch.no_grad():
            return int(self(*(value.to(device) for value in self.example())).shape[1])

    def example(self) -> tuple[Tensor, ...]:
        """Inputs of `forward`, of one row."""
        raise NotImplementedError

    def finish(self, pooled: Tensor) -> Tensor:
        """Pooled states float32 [n, hidden] → vectors float32 [n, dim]."""
        if self.projection is not None:
            pooled = self.projection(pooled)
        return functional.normalize(pooled, dim=-1) if self.normalize else pooled
