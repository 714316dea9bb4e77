"""Encoders that no library has, each with random weights, and what their user would write without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders import EncoderContract

HISTORIES, ITEMS, LONGEST, BATCH = 2048, 3000, 50, 64


def histories(count: int = HISTORIES) -> list[list[str]]:
    """Drawn histories of 2 to 50 items."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, LONGEST + 1, count)
    return [[f"i{item}" for item in generator.integers(0, ITEMS, length)] for length in lengths]


def sequence(folder: Path) -> Path:
    """A SASRec of two layers."""
    from encoders.towers.history import Shape
    from encoders.towers.sequence import SequenceTower

    torch.manual_seed(0)
    shape = Shape(hidden=64, layers=2, heads=2, longest=LONGEST, dropout=0.0)
    return SequenceTower([f"i{item}" for item in range(ITEMS)], shape).save(folder)


def by_plain_torch(folder: Path, given: Sequence[list[str]], *, newest: bool = False) -> Callable[[], Any]:
    """The network over batches that are padded to their longest history.

    Args:
        newest: whether the last block works for the newest step alone, as the project's own tower has it. Otherwise
            every step's state is made and the last taken, as published implementations of SASRec do.
    """
    from encoders.towers.sequence import SequenceTower

    tower: Any = SequenceTower.from_folder(folder)
    numbers = {item: number for number, item in enumerate(tower.items, 1)}

    @torch.inference_mode()
    def encode() -> Any:
        parts = []
        for start in range(0, len(given), BATCH):
            batch = given[start : start + BATCH]
            rows = np.zeros((len(batch), max(map(len, batch))), np.int64)
            for row, history in zip(rows, batch, strict=True):
                row[len(row) - len(history) :] = [numbers[item] for item in history]
            numbered = torch.from_numpy(rows)
            parts.append((tower(numbered) if newest else tower.states(numbered)[:, -1]).numpy())
        return np.concatenate(parts)

    return encode


def fused(folder: Path, members: Sequence[EncoderContract], folders: dict[str, Path]) -> Path:
    """A gated head over members."""
    from encoders.towers.fused import FusedTower

    torch.manual_seed(0)
    tower = FusedTower(members, head="gated", dimension=members[0].dimension, folders=folders)
    return tower.save(folder)


def by_members(folder: Path, parts: Sequence[Callable[[], Any]]) -> Callable[[], Any]:
    """Each member by its library, one after another, and the head over their vectors."""
    from encoders.towers.fused import FusedTower

    tower: Any = FusedTower.from_folder(folder)

    @torch.inference_mode()
    def encode() -> Any:
        vectors = [torch.from_numpy(np.array(part(), np.float32)) for part in parts]
        return tower(vectors, torch.ones(len(vectors[0]), len(vectors), dtype=torch.bool)).numpy()

    return encode
