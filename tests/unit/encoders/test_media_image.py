from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders import InvalidInputError
from encoders.media.image import ImageLimits, decode, fit, pixels_of
from encoders.media.jpeg import scans_of
from encoders.media.preprocessing import ImagePreprocessing

LIMITS = ImageLimits()
SMALL = ImagePreprocessing(image_size=16)
Picture = Callable[..., bytes]


def encoded(image: Image.Image, kind: str = "PNG", **how: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_allowed_format_is_read(kind: str, picture: Picture) -> None:
    image = decode(picture(kind), LIMITS)
    assert (image.mode, image.size) == ("RGB", (40, 30))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "LAB"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    base = Image.new("L", (6, 4), 200)
    if mode in {"I;16", "I"}:
        image = Image.fromarray(np.full((4, 6), 200 * 257, np.uint16 if mode == "I;16" else np.int32))
    elif mode == "F":
        image = Image.fromarray(np.full((4, 6), 200 / 255, np.float32))
    else:
        image = base.convert("RGB").convert(mode) if mode != "LAB" else Image.new("LAB", (6, 4), (200, 128, 128))
    found = np.asarray(decode(encoded(image, "TIFF" if mode not in {"P", "LA"} else "PNG"), LIMITS))
    assert found.shape == (4, 6, 3)
    if mode not in {"1", "P", "LAB"}:
        np.testing.assert_allclose(found, 200, atol=2)


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert (np.asarray(decode(encoded(clear), LIMITS)) == 255).all()
    palette = Image.new("P", (4, 4), 3)
    palette.putpalette([10] * 768)
    assert (np.asarray(decode(encoded(palette, transparency=3), LIMITS)) == 255).all()
    keyed = Image.new("RGB", (4, 4), (9, 9, 9))
    assert (np.asarray(decode(encoded(keyed, transparency=(9, 9, 9)), LIMITS)) == 255).all()


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert decode(data, LIMITS).getpixel((4, 4))[0] > 200


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_applied(turn: int) -> None:
    upright = Image.new("RGB", (40, 20), "white")
    upright.paste("black", (0, 0, 20, 10))
    exif = Image.Exif()
    exif[0x0112] = turn
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[turn]
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    found = decode(encoded(stored, exif=exif.tobytes()), LIMITS)
    assert found.size == (40, 20)
    assert found.getpixel((5, 5)) == (0, 0, 0)
    assert found.getpixel((35, 15)) == (255, 255, 255)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_damaged_exif_does_no_harm(picture: Picture) -> None:
    data = picture("JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert decode(data, LIMITS).size == (40, 30)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and brings a handful."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "null"),
        ("text", "got str"),
        (3.5, "got float"),
        (b"", "empty"),
        (b"not a picture", "known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "known format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "known format"),
        (png_header(20_000, 20_000), "limit"),
        (png_header(9_000, 9_000), "limit"),
        (png_header(1, 60_000_000), "a side"),
        (png_header(4, 4), "cannot be decoded"),
        (b"x" * 33 * 1024 * 1024, "over the limit"),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, str) else None,
)
def test_what_cannot_be_read_is_named(content: object, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        pixels_of(content, SMALL, LIMITS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_truncated_files_are_refused(kind: str, picture: Picture) -> None:
    data = picture(kind, (200, 150))
    for part in (len(data) // 2, len(data) - 40):
        with pytest.raises(InvalidInputError):
            decode(data[:part], LIMITS)


def test_bytes_like_values_are_read(picture: Picture) -> None:
    data = picture("PNG")
    assert decode(bytearray(data), LIMITS).size == decode(memoryview(data), LIMITS).size == (40, 30)


def test_a_large_jpeg_is_decoded_at_a_smaller_scale(picture: Picture) -> None:
    assert decode(picture("JPEG", (800, 600)), LIMITS, near=32).size == (100, 75)
    assert decode(picture("JPEG", (800, 600)), LIMITS).size == (800, 600)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (17, 33), (640, 480), (16, 16)])
@pytest.mark.parametrize(
    "preprocessing",
    [
        SMALL,
        ImagePreprocessing(image_size=16, resize="short_side"),
        ImagePreprocessing(image_size=16, resize="short_side", resize_to=20),
        ImagePreprocessing(image_size=16, resize_to=20),
    ],
)
def test_any_shape_is_fitted(size: tuple[int, int], preprocessing: ImagePreprocessing) -> None:
    assert fit(Image.new("RGB", size, "red"), preprocessing).size == (16, 16)


def test_short_side_keeps_the_middle() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    kept = np.asarray(fit(image, ImagePreprocessing(image_size=32, resize="short_side")))
    assert (kept[:, 2:-2] == (0, 0, 255)).all()


def test_fitting_agrees_with_resizing_whole_and_cropping(picture: Picture) -> None:
    image = decode(picture("PNG", (300, 200)), LIMITS).resize((120, 80), Image.Resampling.BOX)
    preprocessing = ImagePreprocessing(image_size=32, resize="short_side", resize_to=40)
    whole = image.resize((60, 40), Image.Resampling.BICUBIC).crop((14, 4, 46, 36))
    difference = np.abs(np.asarray(fit(image, preprocessing), np.int16) - np.asarray(whole, np.int16))
    assert difference[2:-2, 2:-2].mean() < 4


KINDS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    try_to_read(data)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(KINDS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    cut=st.floats(0, 1),
)
def test_mutated_pictures_raise_nothing_else(
    kind: str, edits: list[tuple[float, int]], cut: float, picture: Picture
) -> None:
    data = bytearray(picture(kind, (24, 18)))
    for place, value in edits:
        data[int(place * (len(data) - 1))] = value
    try_to_read(bytes(data[: int(len(data) * max(cut, 0.1))]))
    try_to_read(bytes(data))


def scanned(count: int, **how: object) -> bytes:
    """A progressive JPEG whose last scan is repeated until there are `count`."""
    data = encoded(Image.linear_gradient("L").convert("RGB").resize((64, 48)), "JPEG", progressive=True, **how)
    assert data.endswith(b"\xff\xd9")
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (count - scans_of(data)) + data[-2:]


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded() -> None:
    assert pixels_of(scanned(100), SMALL, LIMITS).shape == (16, 16, 3)
    with pytest.raises(InvalidInputError, match="JPEG of 101 scans is over the limit of 100"):
        decode(scanned(101), LIMITS)
    assert decode(scanned(12), ImageLimits(max_scans=12)).size == (64, 48)
    with pytest.raises(InvalidInputError, match="12 scans is over the limit of 11"):
        decode(scanned(12), ImageLimits(max_scans=11))


def test_only_what_a_decoder_goes_over_counts_as_a_scan() -> None:
    hidden = b"\xff\xda" * 300
    assert scans_of(scanned(10, comment=hidden, icc_profile=hidden) + hidden) == 10
    assert scans_of(encoded(Image.effect_noise((64, 48), 90), "JPEG")) == 1
    # Markers may be filled up; restart markers stand inside of a scan.
    data = encoded(Image.effect_noise((64, 48), 90), "JPEG", restart_marker_rows=1)
    assert b"\xff\xd1" in data
    assert scans_of(data.replace(b"\xff\xda", b"\xff\xff\xff\xda")) == 1
    assert scans_of(b"\xff\xd8\xff" + hidden[:7]) == 1
    for content in (b"", b"\xff\xd8\xff", encoded(Image.new("L", (2, 2))), hidden):
        assert scans_of(content) == 0


def try_to_read(data: bytes) -> None:
    """Either pixels or the row error; any other exception fails the test."""
    try:
        found = pixels_of(data, SMALL, ImageLimits(max_pixels=1_000_000))
    except InvalidInputError as error:
        found, reason = None, error.reason
    assert found.shape == (16, 16, 3) if found is not None else "\n" not in reason
