"""What the shop may sell: kinds, colours, patterns, materials and what they plausibly cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")
RGB = tuple[int, int, int]

COLOURS: dict[str, dict[str, RGB]] = {
    "red": {"red": (205, 28, 34), "crimson": (170, 16, 42), "scarlet": (228, 40, 22)},
    "orange": {"orange": (240, 130, 20), "tangerine": (244, 112, 26), "apricot": (244, 160, 84)},
    "yellow": {"yellow": (246, 214, 40), "lemon": (250, 232, 92), "mustard": (214, 174, 34)},
    "green": {"green": (48, 140, 56), "emerald": (16, 130, 84), "olive": (112, 126, 40)},
    "turquoise": {"turquoise": (44, 190, 186), "teal": (12, 132, 136), "aqua": (96, 212, 214)},
    "blue": {"blue": (36, 84, 200), "navy": (24, 34, 100), "sky blue": (98, 164, 232)},
    "purple": {"purple": (118, 44, 150), "violet": (134, 76, 196), "plum": (104, 32, 96)},
    "pink": {"pink": (244, 138, 178), "rose": (228, 104, 142), "fuchsia": (226, 40, 146)},
    "brown": {"brown": (118, 72, 36), "chocolate": (84, 48, 26), "chestnut": (142, 78, 48)},
    "black": {"black": (24, 24, 26), "jet black": (12, 12, 14), "ebony": (38, 34, 34)},
    "white": {"white": (246, 246, 244), "ivory": (246, 240, 222), "snow white": (252, 252, 252)},
    "grey": {"grey": (136, 138, 140), "slate grey": (104, 112, 120), "silver grey": (176, 178, 182)},
}
"""Colour → its shades. The first shade carries the colour's own name."""

PATTERNS = ("plain", "striped", "checked", "dotted", "floral", "zigzag")
PATTERN_WEIGHTS = (2.0, 1.0, 1.0, 1.0, 1.0, 1.0)

MATERIAL_FACTOR = {
    "cotton": 1.0,
    "linen": 1.2,
    "denim": 1.1,
    "wool": 1.5,
    "silk": 2.2,
    "leather": 2.4,
    "nylon": 0.8,
    "ceramic": 1.0,
    "glass": 1.2,
    "wood": 1.4,
    "metal": 1.6,
}


@dataclass(frozen=True)
class Kind:
    """A kind of goods: what it may be made of and its price in the plainest material."""

    materials: tuple[str, ...]
    price: float


KINDS: dict[str, Kind] = {
    "dress": Kind(("cotton", "linen", "silk", "wool"), 48.0),
    "shirt": Kind(("cotton", "linen", "silk", "denim"), 29.0),
    "trousers": Kind(("cotton", "linen", "wool", "denim"), 39.0),
    "skirt": Kind(("cotton", "silk", "wool", "denim"), 32.0),
    "jacket": Kind(("cotton", "wool", "denim", "leather"), 79.0),
    "hat": Kind(("cotton", "wool", "leather"), 19.0),
    "shoes": Kind(("leather", "cotton", "denim"), 45.0),
    "socks": Kind(("cotton", "wool", "silk"), 7.0),
    "scarf": Kind(("cotton", "wool", "silk"), 18.0),
    "bag": Kind(("leather", "cotton", "denim", "nylon"), 42.0),
    "umbrella": Kind(("nylon", "cotton"), 24.0),
    "watch": Kind(("leather", "metal", "wood"), 60.0),
    "mug": Kind(("ceramic", "glass", "metal"), 9.0),
    "teapot": Kind(("ceramic", "glass", "metal"), 26.0),
    "vase": Kind(("ceramic", "glass", "metal"), 22.0),
    "lamp": Kind(("metal", "wood", "ceramic", "glass"), 38.0),
    "chair": Kind(("wood", "metal", "leather"), 70.0),
    "cushion": Kind(("cotton", "wool", "silk", "leather"), 17.0),
}


@dataclass(frozen=True)
class Good:
    """One article and everything true of it.

    Attributes:
        shade: the word for this very colour; one of `COLOURS[colour]`.
        price: euros, two decimals.
    """

    kind: str
    colour: str
    shade: str
    pattern: str
    material: str
    price: float

    @property
    def rgb(self) -> RGB:
        """The colour it is drawn in."""
        return COLOURS[self.colour][self.shade]


def sample_good(rng: np.random.Generator, kind: str) -> Good:
    """Draw the attributes of one article of `kind`."""
    colour = pick(rng, tuple(COLOURS))
    shades = tuple(COLOURS[colour])
    weights = np.cumsum(PATTERN_WEIGHTS) / sum(PATTERN_WEIGHTS)
    pattern = PATTERNS[int(np.searchsorted(weights, rng.random(), side="right"))]
    material = pick(rng, KINDS[kind].materials)
    spread = 0.7 + 0.8 * rng.random()
    price = KINDS[kind].price * MATERIAL_FACTOR[material] * spread
    ending = pick(rng, (0.99, 0.95, 0.5))
    return Good(kind, colour, pick(rng, shades), pattern, material, round(max(1.0, np.floor(price)) + ending, 2))


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of `choices`, evenly."""
    return choices[int(rng.random() * len(choices))]
