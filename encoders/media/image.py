"""Pictures: encoded bytes → RGB → the square the network takes, under limits that hostile files cannot pass."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from encoders.errors import InvalidInputError
from encoders.media.checks import require_bytes
from encoders.media.jpeg import scans_of
from encoders.media.preprocessing import ImagePreprocessing

# Formats whose decoders are compiled, bounded and run no programs (PostScript would).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageLimits:
    """What is refused before it is decoded.

    Attributes:
        max_bytes: of the encoded file.
        max_pixels: width × height.
        max_side: width or height; a strip one pixel wide would blow up while it is resized.
        max_scans: of a JPEG. Each is decoded over the whole picture; encoders write about ten.
    """

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 64_000_000
    max_side: int = 65_535
    max_scans: int = 100


def pixels_of(content: Any, preprocessing: ImagePreprocessing, limits: ImageLimits) -> NDArray[np.uint8]:
    """Encoded bytes → uint8 [image_size, image_size, 3], before scaling and normalisation.

    Raises:
        InvalidInputError: not bytes, over a limit, or not decodable to its end.
    """
    picture = decode(content, limits, near=preprocessing.resize_to)
    try:
        return np.asarray(fit(picture, preprocessing))
    except (ValueError, OSError, MemoryError) as error:
        raise InvalidInputError(f"picture cannot be resized ({_line(error)})") from error


def decode(content: Any, limits: ImageLimits, *, near: int | None = None) -> Image.Image:
    """Encoded bytes → an upright RGB picture: first frame, transparency on white.

    Args:
        near: side in pixels that the picture will be resized to; JPEGs are then decoded at a smaller scale.

    Raises:
        InvalidInputError: not bytes, over a limit, or not decodable to its end.
    """
    data = require_bytes(content, "picture", limits.max_bytes)
    scans = scans_of(data)
    if scans > limits.max_scans:
        raise InvalidInputError(f"JPEG of {scans} scans is over the limit of {limits.max_scans}")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            _require_size(picture.size, limits)
            if near is not None:
                picture.draft("RGB", (2 * near, 2 * near))
            picture.load()
            return _upright(_rgb(picture), picture)
    except InvalidInputError:
        raise
    except UnidentifiedImageError as error:
        raise InvalidInputError(f"not a picture in a known format ({', '.join(FORMATS)})") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidInputError(f"picture has more pixels than the limit of {limits.max_pixels}") from error
    except Exception as error:
        raise InvalidInputError(f"picture cannot be decoded ({_line(error)})") from error


def fit(picture: Image.Image, preprocessing: ImagePreprocessing) -> Image.Image:
    """Resize and centre crop to image_size × image_size, in one pass over the part that stays."""
    width, height = picture.size
    full = preprocessing.resize_to
    if preprocessing.resize == "square":
        wide, high = full, full
    elif width <= height:
        wide, high = full, max(full, full * height // width)
    else:
        wide, high = max(full, full * width // height), full
    side = preprocessing.image_size
    left, top = (wide - side) // 2, (high - side) // 2
    across, down = width / wide, height / high
    box = (left * across, top * down, min((left + side) * across, width), min((top + side) * down, height))
    if picture.size == (side, side) and (wide, high) == (side, side):
        return picture
    return picture.resize((side, side), Image.Resampling(preprocessing.resample), box=box, reducing_gap=3.0)


def _require_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InvalidInputError("picture without pixels")
    if width * height > limits.max_pixels or max(size) > limits.max_side:
        raise InvalidInputError(
            f"picture of {width}×{height} pixels is over the limit of {limits.max_pixels} pixels, "
            f"{limits.max_side} a side"
        )


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture.copy() if picture.readonly else picture
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        deep = np.asarray(picture).astype(np.int64).clip(0, 65_535)
        return Image.fromarray((deep // 257).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        real = np.nan_to_num(np.asarray(picture), nan=0.0, posinf=255.0, neginf=0.0)
        scale = 255.0 if real.size and real.max() <= 1.0 else 1.0
        return Image.fromarray((real * scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        layered = picture.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return picture.convert("RGB")


def _upright(picture: Image.Image, original: Image.Image) -> Image.Image:
    try:
        turn = TURNS.get(original.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - a picture with damaged EXIF is still a picture
        return picture
    return picture if turn is None else picture.transpose(turn)


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
