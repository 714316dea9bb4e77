"""Draws one article as a small photograph-like JPEG, with everything that is not an attribute left to chance."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from examples.demo.goods import Good, pick
from examples.demo.patterns import PATTERN_FIELDS
from examples.demo.shapes import SHAPES, Part, Vary

SIDE = 160
_SCALE = 2
_CANVAS = SIDE * _SCALE

_LABELS = {"body": 1, "trim": 2, "dark": 3, "light": 4}
_OUTLINE = 5

Pixels = NDArray[np.float32]

_GLOSS = {"silk": 0.5, "leather": 0.35, "ceramic": 0.6, "glass": 0.8, "metal": 0.9, "nylon": 0.3}
_GRAIN = {"wool": 0.12, "denim": 0.09, "linen": 0.06, "wood": 0.07, "cotton": 0.03}


def draw(good: Good, rng: np.random.Generator) -> bytes:
    """Draw `good` → JPEG of `SIDE` × `SIDE` pixels.

    Position, size, turn, outline, light, background, texture, pattern layout and the article's own proportions come
    from `rng`; kind, colour, pattern and material come from `good`.
    """
    pixels = draw_pixels(good, rng)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=88)
    return file.getvalue()


def draw_pixels(good: Good, rng: np.random.Generator) -> NDArray[np.uint8]:
    """As `draw`, before it is encoded → uint8 [SIDE, SIDE, 3]."""
    colour = np.asarray(good.rgb, dtype=np.float32)
    place = _Placement(rng)
    u, v = place.frame()
    article, coverage = _article(good, colour, place, u, v, rng)
    image = _shadow(_background(colour, rng), coverage, rng)
    image = image * (1 - coverage[..., None]) + article
    image = _light(image, coverage, good.material, u[::_SCALE, ::_SCALE], v[::_SCALE, ::_SCALE], rng)
    image += (rng.random(image.shape, dtype=np.float32) - np.float32(0.5)) * np.float32(3 + 6 * rng.random())
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _article(
    good: Good, colour: Pixels, place: _Placement, u: Pixels, v: Pixels, rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """The article alone, as premultiplied colour [SIDE, SIDE, 3], and its coverage [SIDE, SIDE] in [0, 1]."""
    trim = colour * np.float32(0.62) if colour.mean() > 60 else colour + np.float32(46)
    nothing = np.zeros(3, dtype=np.float32)
    outline = colour * np.float32(0.35)
    palette = np.stack([nothing, nothing, trim, _tone(rng, 30, 74), _tone(rng, 200, 240), outline])
    labels = place.labels(SHAPES[good.kind](Vary(rng)), outline=int(pick(rng, (0, 1, 2, 3))))
    layer = palette[labels]
    body = labels == _LABELS["body"]
    layer[body] = _surface(good, colour, u[body], v[body], rng)
    return _shrink(layer), _shrink((labels > 0).astype(np.float32))


def _shrink(image: Pixels) -> Pixels:
    total = np.zeros((SIDE, SIDE, *image.shape[2:]), dtype=np.float32)
    for row in range(_SCALE):
        for column in range(_SCALE):
            total += image[row::_SCALE, column::_SCALE]
    return total / np.float32(_SCALE**2)


class _Placement:
    """Where the article stands in the picture: frame coordinates ↔ canvas pixels."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.size = _CANVAS * (0.3 + 0.12 * rng.random())
        self.x = _CANVAS * (0.5 + 0.12 * (rng.random() - 0.5))
        self.y = _CANVAS * (0.5 + 0.12 * (rng.random() - 0.5))
        turn = (rng.random() - 0.5) * 0.6
        flip = -1.0 if rng.random() < 0.5 else 1.0
        self.matrix = np.asarray([[np.cos(turn) * flip, -np.sin(turn)], [np.sin(turn) * flip, np.cos(turn)]])

    def frame(self) -> tuple[Pixels, Pixels]:
        """Frame coordinates of every pixel, each float32 [canvas, canvas]."""
        axis = np.arange(_CANVAS, dtype=np.float32) + np.float32(0.5)
        x, y = (axis[None, :] - np.float32(self.x)) / self.size, (axis[:, None] - np.float32(self.y)) / self.size
        back = np.linalg.inv(self.matrix)
        u, v = back[0, 0] * x + back[0, 1] * y, back[1, 0] * x + back[1, 1] * y
        return u.astype(np.float32), v.astype(np.float32)

    def labels(self, parts: list[Part], outline: int) -> NDArray[np.uint8]:
        """What each pixel shows: 0 nothing, else one of `_LABELS`; `outline` is a width in pixels, 0 for none."""
        canvas = Image.new("L", (_CANVAS, _CANVAS))
        pen = ImageDraw.Draw(canvas)
        for part in parts:
            points = part.points @ self.matrix.T * self.size + [self.x, self.y]
            corners = [(float(x), float(y)) for x, y in points]
            if part.width:
                pen.line(corners, _LABELS[part.role], max(1, round(part.width * self.size)), joint="curve")
                continue
            pen.polygon(corners, _LABELS[part.role])
            if outline:
                pen.line([*corners, corners[0]], _OUTLINE, outline)
        return np.asarray(canvas)


def _surface(good: Good, colour: Pixels, u: Pixels, v: Pixels, rng: np.random.Generator) -> Pixels:
    accent, centre = PATTERN_FIELDS[good.pattern](u, v, rng)
    second = _accent(colour, rng)
    heart = np.asarray((250, 206, 60) if good.colour not in ("yellow", "orange") else (120, 60, 30), dtype=np.float32)
    surface = colour + accent[..., None] * (second - colour)
    return surface + centre[..., None] * (heart - surface)


def _accent(colour: Pixels, rng: np.random.Generator) -> Pixels:
    """A second tone that stands out from `colour` without taking its name away."""
    brightness = float(colour.mean())
    light = brightness < 90 or (brightness < 180 and rng.random() < 0.6)
    target = np.float32(248) if light else np.float32(28)
    return colour + (target - colour) * np.float32(0.72 + 0.2 * rng.random())


def _tone(rng: np.random.Generator, low: float, high: float) -> Pixels:
    base = low + (high - low) * rng.random()
    return np.asarray([base + 10, base + 2, base - 8], dtype=np.float32)


def _background(colour: Pixels, rng: np.random.Generator) -> Pixels:
    for _ in range(8):
        tint = 90 + 150 * rng.random() + 50 * (rng.random(3) - 0.5)
        if np.abs(tint - colour).max() > 60:
            break
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    slope = 40 * (rng.random(2) - 0.5)
    ramp = slope[0] * axis[None, :] + slope[1] * axis[:, None]
    coarse = Image.fromarray((rng.random((12, 12)) * 255).astype(np.uint8))
    cloud = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32) / 255 - 0.5
    plane = ramp + cloud * (50 * rng.random())
    return (tint[None, None, :] + plane[..., None]).astype(np.float32)


def _shadow(image: Pixels, coverage: Pixels, rng: np.random.Generator) -> Pixels:
    soft = Image.fromarray((coverage * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(6))
    offset = (int(4 + 8 * rng.random()), int(12 * (rng.random() - 0.5)))
    cast = np.roll(np.asarray(soft, dtype=np.float32) / 255, offset, axis=(0, 1))
    return image * (1 - np.float32(0.2 + 0.3 * rng.random()) * cast[..., None])


def _light(image: Pixels, coverage: Pixels, material: str, u: Pixels, v: Pixels, rng: np.random.Generator) -> Pixels:
    angle = rng.random() * 2 * np.pi
    across = u * np.float32(np.cos(angle)) + v * np.float32(np.sin(angle))
    image = image * (1 + np.float32(0.14) * across * rng.random() + np.float32(0.2 * (rng.random() - 0.5)))[..., None]
    gloss = np.exp(-(((across - np.float32(0.3)) * 5) ** 2)) * np.float32(70 * _GLOSS.get(material, 0.0))
    grain = (rng.random(u.shape, dtype=np.float32) - np.float32(0.5)) * np.float32(128 * _GRAIN.get(material, 0.0))
    return (image + ((gloss + grain) * coverage)[..., None]).astype(np.float32)
