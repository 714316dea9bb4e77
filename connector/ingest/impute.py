"""Vectors of items that lack the modality of their space: made by the encoder of another, in the same space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from encoders.base import Encoder, EncodeResult, Side
from encoders.contract import EncoderContract


class ImputingEncoder(Encoder):
    """Items of several parts to vectors of one space.

    An item with the space's own modality goes to its encoder, any other to the first stand-in whose modality it has.

    Args:
        own: the space's encoder.
        stand_ins: modality → an encoder in the same space, in the order in which they are tried.
    """

    def __init__(self, own: Encoder, stand_ins: Mapping[str, Encoder]) -> None:
        self._own = own
        self._by_modality = {own.contract.modality: own, **stand_ins}

    @property
    def contract(self) -> EncoderContract:
        """What the vectors are."""
        return self._own.contract

    def encode_tolerant(self, items: Sequence[Any], side: Side = "document") -> EncodeResult:
        """Encode mappings of modality to raw content, each with one modality that is known."""
        result = EncodeResult(np.zeros((len(items), self.contract.dimension), np.float32))
        rows: dict[str, list[int]] = {}
        for row, item in enumerate(items):
            rows.setdefault(next(name for name in self._by_modality if name in item), []).append(row)
        for modality, chosen in rows.items():
            made = self._by_modality[modality].encode_tolerant([items[row][modality] for row in chosen], side)
            result.vectors[chosen] = made.vectors
            result.errors.update({chosen[index]: f"{modality}: {reason}" for index, reason in made.errors.items()})
        return result
