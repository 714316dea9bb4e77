"""Outlines of every kind of goods, in a frame of [-1, 1] with y pointing down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Role = Literal["body", "trim", "dark", "light"]


@dataclass(frozen=True)
class Part:
    """A filled polygon, or a line where `width` is given.

    Attributes:
        points: float64 [n, 2].
        role: `body` takes colour and pattern, `trim` a darker tone of the colour, `dark` and `light` neutral tones.
        width: line width in the frame's unit; 0 fills.
    """

    points: Points
    role: Role = "body"
    width: float = 0.0


class Vary:
    """Draws the small differences between two articles of one kind."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def __call__(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._rng.random())

    def chance(self, probability: float) -> bool:
        return float(self._rng.random()) < probability


def _polygon(points: Sequence[tuple[float, float]], role: Role = "body") -> Part:
    return Part(np.asarray(points, dtype=np.float64), role)


def _mirrored(right: Sequence[tuple[float, float]], role: Role = "body") -> Part:
    """A shape symmetric about x = 0, from its right half, top to bottom."""
    return _polygon([*right, *((-x, y) for x, y in reversed(right))], role)


def _box(left: float, top: float, right: float, bottom: float, role: Role = "body") -> Part:
    return _polygon([(left, top), (right, top), (right, bottom), (left, bottom)], role)


def _ellipse(x: float, y: float, rx: float, ry: float, role: Role = "body", part: tuple[float, float] = (0, 2)) -> Part:
    angle = np.linspace(part[0] * np.pi, part[1] * np.pi, 40)
    return Part(np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1), role)


def _line(points: Sequence[tuple[float, float]], width: float, role: Role = "trim") -> Part:
    return Part(np.asarray(points, dtype=np.float64), role, width)


def _arc(x: float, y: float, rx: float, ry: float, start: float, end: float, width: float, role: Role = "trim") -> Part:
    angle = np.linspace(start * np.pi, end * np.pi, 24)
    return Part(np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1), role, width)


def _dress(v: Vary) -> list[Part]:
    waist, hem, length = v(0.2, 0.28), v(0.6, 0.85), v(0.75, 0.98)
    parts = [
        _mirrored([(0.12, -0.95), (0.34, -0.92), (0.4, -0.55), (waist, -0.2), (hem, length), (0.0, length + 0.03)])
    ]
    if v.chance(0.5):
        for side in (-1, 1):
            parts.append(
                _polygon([(side * 0.3, -0.93), (side * 0.62, -0.6), (side * 0.5, -0.48), (side * 0.36, -0.62)])
            )
    return [*parts, _box(-waist - 0.02, -0.24, waist + 0.02, -0.15, "trim")]


def _shirt(v: Vary) -> list[Part]:
    sleeve, width, bottom = v(0.0, 0.5), v(0.46, 0.56), v(0.7, 0.85)
    parts = [_mirrored([(0.14, -0.8), (width, -0.7), (width, bottom), (0.0, bottom)])]
    for side in (-1, 1):
        tip = (side * (0.95 - 0.12 * sleeve), -0.1 + sleeve)
        parts.append(
            _polygon([(side * (width - 0.06), -0.7), tip, (tip[0] - side * 0.22, tip[1] + 0.1), (side * width, -0.25)])
        )
    parts.append(_polygon([(-0.2, -0.86), (0.0, -0.6), (0.2, -0.86), (0.1, -0.9), (-0.1, -0.9)], "trim"))
    return [*parts, _line([(0.0, -0.6), (0.0, bottom)], 0.03)]


def _trousers(v: Vary) -> list[Part]:
    hip, foot, bottom = v(0.36, 0.46), v(0.14, 0.26), v(0.85, 0.98)
    out = hip + 0.04
    parts = [
        _polygon([(-hip, -0.9), (hip, -0.9), (out, -0.4), (out - 0.02, bottom), (out - 2 * foot, bottom), (0.0, -0.25),
                  (2 * foot - out, bottom), (0.02 - out, bottom), (-out, -0.4)]),
    ]  # fmt: skip
    return [*parts, _box(-hip, -0.95, hip, -0.83, "trim")]


def _skirt(v: Vary) -> list[Part]:
    waist, hem, bottom = v(0.3, 0.38), v(0.75, 0.95), v(0.55, 0.8)
    return [
        _mirrored([(waist, -0.6), (hem, bottom), (hem * 0.5, bottom + 0.06), (0.0, bottom)]),
        _box(-waist, -0.7, waist, -0.57, "trim"),
    ]


def _jacket(v: Vary) -> list[Part]:
    width, bottom = v(0.54, 0.62), v(0.55, 0.75)
    parts = [_mirrored([(0.2, -0.85), (width, -0.72), (width + 0.02, bottom), (0.0, bottom)])]
    for side in (-1, 1):
        parts.append(
            _polygon([(side * (width - 0.04), -0.72), (side * 0.98, 0.42), (side * 0.76, 0.52), (side * width, -0.1)])
        )
        parts.append(_polygon([(side * 0.2, -0.88), (side * 0.34, -0.6), (side * 0.02, -0.1)], "trim"))
        parts.append(_box(side * 0.3 - 0.12, 0.25, side * 0.3 + 0.12, 0.3, "trim"))
    parts.append(_line([(0.0, -0.1), (0.0, bottom)], 0.05, "dark"))
    return [*parts, *(_ellipse(0.09, y, 0.035, 0.035, "dark") for y in (0.05, 0.25, 0.45))]


def _hat(v: Vary) -> list[Part]:
    crown, height, brim = v(0.42, 0.52), v(0.6, 0.75), v(0.8, 0.98)
    return [
        _ellipse(0.0, 0.35, brim, v(0.16, 0.24)),
        _mirrored([(0.1, 0.3 - height), (crown * 0.85, 0.36 - height), (crown, 0.34), (0.0, 0.42)]),
        _mirrored([(crown * 0.97, 0.12), (crown, 0.3), (0.0, 0.38), (0.0, 0.2)], "trim"),
    ]


def _shoes(v: Vary) -> list[Part]:
    parts: list[Part] = []
    toe = v(0.0, 0.1)
    for x, y in ((0.06, -0.5), (-0.06, 0.32)):
        parts += [
            _polygon([(x - 0.8, y - 0.3), (x - 0.4, y - 0.34), (x - 0.1, y - 0.1), (x + 0.55, y + 0.06 - toe),
                      (x + 0.78, y + 0.3), (x - 0.82, y + 0.3)]),
            _box(x - 0.84, y + 0.28, x + 0.82, y + 0.4, "light" if toe > 0.05 else "dark"),
            _line([(x - 0.36, y - 0.2), (x - 0.16, y - 0.3)], 0.04, "light"),
            _line([(x - 0.2, y - 0.1), (x, y - 0.2)], 0.04, "light"),
        ]  # fmt: skip
    return parts


def _socks(v: Vary) -> list[Part]:
    height, parts = v(0.8, 0.98), list[Part]()
    for x in (-0.5, 0.28):
        parts += [
            _polygon([(x - 0.2, -height), (x + 0.2, -height), (x + 0.2, 0.3), (x + 0.5, 0.55), (x + 0.5, 0.8),
                      (x + 0.1, 0.86), (x - 0.22, 0.6)]),
            _box(x - 0.22, -height - 0.02, x + 0.22, 0.14 - height, "trim"),
        ]  # fmt: skip
    return parts


def _scarf(v: Vary) -> list[Part]:
    left, right, wide = v(0.7, 0.95), v(0.4, 0.75), v(0.34, 0.42)
    parts = [
        _polygon([(-0.5, -0.6), (-0.5 + wide, -0.6), (-0.1, left), (-0.1 - wide, left)]),
        _polygon([(0.08, -0.5), (0.08 + wide, -0.5), (0.24 + wide, right), (0.24, right)]),
        _ellipse(-0.02, -0.62, 0.62, 0.28),
        _ellipse(-0.02, -0.68, 0.34, 0.1, "dark"),
    ]
    for x, y in ((-0.1 - wide, left), (0.24, right)):
        parts += [_line([(x + wide * f, y), (x + wide * f, y + 0.1)], 0.03) for f in (0.1, 0.3, 0.5, 0.7, 0.9)]
    return parts


def _bag(v: Vary) -> list[Part]:
    top, bottom, handle = v(0.5, 0.65), v(0.7, 0.85), v(0.45, 0.65)
    parts = [_arc(0.0, -0.2, 0.36, handle, 1.0, 2.0, 0.09), _mirrored([(top, -0.25), (bottom, 0.8), (0.0, 0.82)])]
    if v.chance(0.5):
        parts.append(_mirrored([(top + 0.02, -0.27), (top + 0.06, 0.02), (0.0, 0.22)], "trim"))
    return [*parts, _ellipse(0.0, 0.16, 0.06, 0.06, "light")]


def _umbrella(v: Vary) -> list[Part]:
    rise, width = v(0.85, 1.0), v(0.88, 0.98)
    edge = [(width, 0.08)]
    for i in range(4):
        right, left = width - i * width / 2, width - (i + 1) * width / 2
        edge += [((right * 3 + left) / 4, -0.04), ((right + 3 * left) / 4, -0.04), (left, 0.08)]
    angle = np.linspace(np.pi, 2 * np.pi, 30)
    dome = [(width * float(np.cos(a)), 0.08 + rise * float(np.sin(a))) for a in angle]
    return [
        _line([(0.0, -0.9), (0.0, 0.8)], 0.05, "dark"),
        _arc(0.14, 0.8, 0.14, 0.16, 0.0, 1.0, 0.06, "dark"),
        _polygon([*dome, *edge]),
        _line([(0.0, 0.08 - rise), (width / 2, 0.06)], 0.02),
        _line([(0.0, 0.08 - rise), (-width / 2, 0.06)], 0.02),
    ]


def _watch(v: Vary) -> list[Part]:
    face, strap = v(0.42, 0.5), v(0.27, 0.33)
    hand = v(0.0, 2.0) * np.pi
    return [
        _mirrored([(strap * 0.75, -0.98), (strap, -0.3), (strap, 0.3), (strap * 0.75, 0.98), (0.0, 0.99)]),
        _ellipse(0.0, 0.0, face, face, "trim"),
        _ellipse(0.0, 0.0, face * 0.8, face * 0.8, "light"),
        _line([(0.0, 0.0), (0.3 * float(np.cos(hand)), 0.3 * float(np.sin(hand)))], 0.05, "dark"),
        _line([(0.0, 0.0), (0.18 * float(np.cos(2.6 * hand)), 0.18 * float(np.sin(2.6 * hand)))], 0.06, "dark"),
    ]


def _mug(v: Vary) -> list[Part]:
    width, height, taper = v(0.5, 0.6), v(0.6, 0.8), v(0.0, 0.1)
    left, right = -0.2 - width, width - 0.2
    return [
        _arc(width - 0.24, 0.0, 0.42, 0.36, -0.5, 0.5, 0.13, "body"),
        _polygon([(left, -height), (right, -height), (right - taper, height), (left + taper, height)]),
        _ellipse(-0.2, -height, width, 0.13, "trim"),
        _ellipse(-0.2, -height + 0.03, width * 0.86, 0.08, "dark"),
    ]


def _teapot(v: Vary) -> list[Part]:
    round_, tall = v(0.52, 0.62), v(0.46, 0.56)
    return [
        _arc(0.5, 0.1, 0.4, 0.36, -0.5, 0.5, 0.1),
        _polygon([(-0.4, 0.3), (-0.96, -0.32), (-0.8, -0.4), (-0.35, -0.08)], "trim"),
        _ellipse(0.0, 0.15, round_, tall),
        _ellipse(0.0, 0.15 - tall, 0.3, 0.1, "trim"),
        _ellipse(0.0, 0.03 - tall, 0.09, 0.09, "dark"),
        _box(-0.3, 0.1 + tall, 0.3, 0.2 + tall, "trim"),
    ]


def _vase(v: Vary) -> list[Part]:
    neck, belly, foot = v(0.12, 0.22), v(0.46, 0.62), v(0.22, 0.34)
    middle = v(0.1, 0.4)
    side = [(neck + 0.14, -0.95), (neck, -0.75), (neck, -0.5)]
    for t in (0.25, 0.5, 0.75, 1.0):
        side.append((neck + (belly - neck) * float(np.sin(t * np.pi / 2)), -0.5 + t * (middle + 0.5)))
    for t in (0.3, 0.6, 1.0):
        side.append((foot + (belly - foot) * float(np.cos(t * np.pi / 2)), middle + t * (0.93 - middle)))
    return [_mirrored([*side, (0.0, 0.94)]), _ellipse(0.0, -0.95, neck + 0.14, 0.06, "dark")]


def _lamp(v: Vary) -> list[Part]:
    top, bottom, foot = v(0.26, 0.4), v(0.65, 0.8), v(0.3, 0.42)
    shade = v(0.0, 0.15)
    return [
        _line([(0.0, -0.2), (0.0, 0.85)], v(0.08, 0.16), "dark"),
        _ellipse(0.0, 0.88, foot, 0.1, "dark"),
        _mirrored([(top, -0.9), (bottom, shade), (0.0, shade + 0.04)]),
        _ellipse(0.0, -0.9, top, 0.05, "light"),
    ]


def _chair(v: Vary) -> list[Part]:
    back, seat = v(0.36, 0.46), v(0.5, 0.58)
    legs = [((seat - 0.06, 0.25), (seat + 0.02, 0.95)), ((0.06 - seat, 0.25), (-seat - 0.02, 0.95)),
            ((seat - 0.2, 0.2), (seat - 0.2, 0.72)), ((0.2 - seat, 0.2), (0.2 - seat, 0.72))]  # fmt: skip
    return [
        *(_line(leg, 0.09, "dark") for leg in legs),
        _mirrored([(back - 0.06, -0.95), (back, -0.85), (back, 0.02), (0.0, 0.04)]),
        _mirrored([(back + 0.04, 0.02), (seat + 0.06, 0.26), (seat + 0.06, 0.36), (0.0, 0.36)]),
        _line([(-seat - 0.06, 0.36), (seat + 0.06, 0.36)], 0.05),
    ]


def _cushion(v: Vary) -> list[Part]:
    pinch, size = v(0.06, 0.14), v(0.72, 0.85)
    inner = size - pinch
    corners = [(size, -size), (inner, 0.0), (size, size), (0.0, inner)]
    corners += [(-x, -y) for x, y in corners]
    outline = np.asarray([*corners, corners[0]])
    parts = [_polygon(corners), Part(outline, "trim", 0.05)]
    return [*parts, _ellipse(0.0, 0.0, 0.05, 0.05, "trim")] if v.chance(0.4) else parts


SHAPES: dict[str, Callable[[Vary], list[Part]]] = {
    "dress": _dress,
    "shirt": _shirt,
    "trousers": _trousers,
    "skirt": _skirt,
    "jacket": _jacket,
    "hat": _hat,
    "shoes": _shoes,
    "socks": _socks,
    "scarf": _scarf,
    "bag": _bag,
    "umbrella": _umbrella,
    "watch": _watch,
    "mug": _mug,
    "teapot": _teapot,
    "vase": _vase,
    "lamp": _lamp,
    "chair": _chair,
    "cushion": _cushion,
}
"""Kind → the function that outlines one article of it."""
