"""The projected tower: content vectors through a small network to where items that go together lie together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from encoders.errors import EncoderLoadError
from encoders.towers.content import ContentTower


@dataclass(frozen=True)
class Projection:
    """Sizes of a projection.

    Attributes:
        hidden: of the layer between; 0 leaves it out, so that the projection is linear.
        dimension: length of a vector.
        longest: most items of a history, whose mean is the user's vector.
    """

    hidden: int = 256
    dimension: int = 64
    dropout: float = 0.2
    longest: int = 50

    def __post_init__(self) -> None:
        if self.hidden < 0 or min(self.dimension, self.longest) < 1 or not 0 <= self.dropout < 1:
            raise EncoderLoadError(f"projected tower: sizes out of range ({self})")


class ProjectedTower(ContentTower):
    """Content vectors, and the mean of a history's, to vectors of unit length.

    Args:
        items: ids of the items it knows.
        content: their vectors at unit length, float32 [items, content].
    """

    kind = "projected"
    pooling = "mean"

    def __init__(self, items: Sequence[str], content: NDArray[np.float32], projection: Projection) -> None:
        super().__init__(items, content)
        self.projection = projection
        self.dimension, self.longest = projection.dimension, projection.longest
        width = projection.hidden or content.shape[1]
        between = [nn.Linear(content.shape[1], width), nn.GELU()] if projection.hidden else []
        self.network = nn.Sequential(*between, nn.Dropout(projection.dropout), nn.Linear(width, projection.dimension))

    def vectors(self, items: Tensor, content: Tensor) -> Tensor:
        """Content float32 […, content] → vectors float32 […, dim], not scaled; ids make no difference."""
        vectors: Tensor = self.network(content)
        return vectors

    def users(self, items: Tensor, content: Tensor) -> Tensor:
        """Direction of the sum of a history's unit vectors, float32 [n, dim]."""
        steps = functional.normalize(self.vectors(items, content), dim=-1)
        return functional.normalize((steps * (items > 0).unsqueeze(-1)).sum(dim=1), dim=-1)

    def sizes(self) -> dict[str, Any]:
        """Sizes of the projection."""
        return {"projection": asdict(self.projection)}

    @classmethod
    def of_record(cls, record: dict[str, Any], items: Sequence[str], content: NDArray[np.float32]) -> ProjectedTower:
        """A tower without its weights."""
        return cls(items, content, Projection(**record["projection"]))
