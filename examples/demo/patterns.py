"""Surface patterns, as functions of the article's own frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def _wave(position: Field, share: float) -> Field:
    """1 on `share` of each unit, 0 elsewhere."""
    return ((position - np.floor(position)) < share).astype(np.float32)


def _cells(u: Field, v: Field, spacing: float) -> tuple[Field, Field]:
    """Offsets from the nearest point of a brick-like lattice."""
    row = np.floor(v / spacing)
    shifted = u / spacing + 0.5 * (row % 2)
    return (shifted - np.floor(shifted) - 0.5) * spacing, (v / spacing - row - 0.5) * spacing


def _turned(u: Field, v: Field, angle: float) -> tuple[Field, Field]:
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return u * cos - v * sin, u * sin + v * cos


def _plain(u: Field, _v: Field, _rng: np.random.Generator) -> tuple[Field, Field]:
    nothing = np.zeros_like(u)
    return nothing, nothing


def _striped(u: Field, v: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    turn = (0.0, 0.5, 0.25, -0.25)[int(rng.random() * 4)] * np.pi + (rng.random() - 0.5) * 0.2
    across, _ = _turned(u, v, turn)
    return _wave(across / np.float32(0.24 + 0.12 * rng.random()), 0.38), np.zeros_like(u)


def _checked(u: Field, v: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    size = np.float32(0.28 + 0.12 * rng.random())
    u, v = _turned(u, v, (rng.random() - 0.5) * 0.15)
    return (_wave(u / size, 0.42) + _wave(v / size, 0.42)) / 2, np.zeros_like(u)


def _dotted(u: Field, v: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    spacing = 0.24 + 0.12 * rng.random()
    x, y = _cells(u, v, spacing)
    radius = spacing * (0.25 + 0.08 * rng.random())
    return (np.hypot(x, y) < radius).astype(np.float32), np.zeros_like(u)


def _floral(u: Field, v: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    spacing = 0.42 + 0.14 * rng.random()
    x, y = _cells(u, v, spacing)
    distance, angle = np.hypot(x, y), np.arctan2(y, x) + np.float32(rng.random() * 6)
    petals = 5 + int(rng.random() * 2)
    reach = spacing * (0.3 + 0.16 * np.cos(petals * angle))
    return (distance < reach).astype(np.float32), (distance < spacing * 0.11).astype(np.float32)


def _zigzag(u: Field, v: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    period = np.float32(0.3 + 0.1 * rng.random())
    saw = np.abs((u / period) - np.floor(u / period) - 0.5) * 2
    return _wave(v / (period * np.float32(0.85)) + saw * np.float32(0.8), 0.38), np.zeros_like(u)


Pattern = Callable[[Field, Field, np.random.Generator], tuple[Field, Field]]

PATTERN_FIELDS: dict[str, Pattern] = {
    "plain": _plain,
    "striped": _striped,
    "checked": _checked,
    "dotted": _dotted,
    "floral": _floral,
    "zigzag": _zigzag,
}
"""Pattern → function of frame coordinates, giving the share of accent colour and of flower centre, each in [0, 1]."""
