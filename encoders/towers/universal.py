"""The universal sequence tower: histories of content vectors to user vectors, in the space of the adapted content.

UniSRec (Hou et al., KDD 2022). It needs no item ids, so that an item that nobody chose yet has a vector, and what was
learned on one catalogue serves another. With ids (the transductive setting) every known item adds a vector of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from encoders.errors import EncoderLoadError
from encoders.towers.adaptor import Adaptation, Adaptor
from encoders.towers.content import ContentTower
from encoders.towers.history import HistoryTransformer, Shape


class UniversalTower(ContentTower):
    """Histories of items with content to vectors of unit length.

    Args:
        items: ids of the items it knows.
        content: their vectors at unit length, float32 [items, content].
        shape: sizes of the transformer; causal.
        adaptation: sizes of the adaptor.
        ids: whether known items have a vector of their own beside their content.
    """

    kind = "universal"
    pooling = "last"

    def __init__(
        self,
        items: Sequence[str],
        content: NDArray[np.float32],
        shape: Shape,
        adaptation: Adaptation,
        *,
        ids: bool = False,
    ) -> None:
        super().__init__(items, content)
        if content.shape[1] != adaptation.content:
            raise EncoderLoadError(
                f"universal tower: content of {content.shape[1]} numbers, but its adaptor takes {adaptation.content}"
            )
        self.shape, self.dimension, self.longest = shape, shape.hidden, shape.longest
        self.adaptor = Adaptor(adaptation, shape.hidden)
        self.history = HistoryTransformer(shape)
        self.table: nn.Embedding | None = nn.Embedding(len(items) + 2, shape.hidden) if ids else None
        if self.table is not None:
            # Content alone at the start.
            nn.init.zeros_(self.table.weight)

    def vectors(self, items: Tensor, content: Tensor) -> Tensor:
        """Numbers int64 […], content float32 […, content] → vectors float32 […, dim], not scaled."""
        vectors: Tensor = self.adaptor(content)
        if self.table is not None:
            unnamed = ((items == 0) | (items > len(self.items))).unsqueeze(-1)
            vectors = vectors + self.table(items).masked_fill(unnamed, 0.0)
        return vectors

    def states(self, items: Tensor, content: Tensor) -> Tensor:
        """Numbers int64 [n, length], padded on the left, and content → unit states float32 [n, length, dim]."""
        return functional.normalize(self.history(*self._steps(items, content)), dim=-1)

    def users(self, items: Tensor, content: Tensor) -> Tensor:
        """The last state of each history, float32 [n, dim]."""
        return functional.normalize(self.history.newest(*self._steps(items, content)), dim=-1)

    def _steps(self, items: Tensor, content: Tensor) -> tuple[Tensor, Tensor]:
        there = items > 0
        return self.vectors(items, content) * there.unsqueeze(-1), there

    def sizes(self) -> dict[str, Any]:
        """Transformer, adaptor, and whether there are ids."""
        return {
            "shape": asdict(self.shape),
            "adaptation": asdict(self.adaptor.sizes),
            "ids": self.table is not None,
        }

    @classmethod
    def of_record(cls, record: dict[str, Any], items: Sequence[str], content: NDArray[np.float32]) -> UniversalTower:
        """A tower without its weights."""
        adaptation = Adaptation(**record["adaptation"])
        return cls(items, content, Shape(**record["shape"]), adaptation, ids=bool(record["ids"]))
