from __future__ import annotations

import io
import struct
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders import EncoderLoadError, InvalidInputError
from encoders.media.preprocessing import ImagePreprocessing
from encoders.media.video import VideoLimits, VideoPreprocessing, film_inputs
from tests.media_files import FILM_KINDS, film, sound, wave

LIMITS = VideoLimits()
PICTURE = ImagePreprocessing(16)
FOUR = VideoPreprocessing(4, PICTURE)


def levels(content: bytes, preprocessing: VideoPreprocessing = FOUR, limits: VideoLimits = LIMITS) -> list[float]:
    """Mean brightness of each frame that is looked at."""
    frames = film_inputs(content, preprocessing, limits)["frames"]
    assert frames.dtype == np.uint8
    assert frames.shape == (preprocessing.frames, 16, 16, 3)
    return [float(frame.mean()) for frame in frames]


def brightness(index: int, frames: int) -> float:
    return 8 + index * 240 / frames


@pytest.mark.parametrize("kind", sorted(FILM_KINDS))
@pytest.mark.parametrize(("frames", "gap"), [(24, 8), (37, 100), (5, 1)])
def test_frames_are_evenly_spread_in_every_container(kind: str, frames: int, gap: int) -> None:
    found = levels(film(kind, frames=frames, gap=gap))
    wanted = [brightness((2 * i + 1) * frames // 8, frames) for i in range(4)]
    np.testing.assert_allclose(found, wanted, atol=6)


@pytest.mark.parametrize("count", [1, 2, 8, 24, 60])
def test_any_number_of_frames_may_be_asked_of_any_film(count: int) -> None:
    found = levels(film(frames=12), VideoPreprocessing(count, PICTURE))
    wanted = [brightness((2 * i + 1) * 12 // (2 * count), 12) for i in range(count)]
    np.testing.assert_allclose(found, wanted, atol=6)


def test_a_single_frame_is_a_film() -> None:
    assert len(levels(film(frames=1))) == 4


def test_sound_beside_the_film_does_no_harm() -> None:
    plain, loud = levels(film()), levels(film(sound=wave(seconds=2.0)[:, 0]))
    np.testing.assert_allclose(plain, loud, atol=1)


def test_a_film_that_was_held_upright_is_turned() -> None:
    stream = io.BytesIO()
    with av.open(stream, mode="w", format="mp4") as container:
        video: Any = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        array = np.full((32, 48, 3), 255, np.uint8)
        array[:, :24] = 0
        for _ in range(3):
            container.mux(video.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(video.encode(None))
    content = bytearray(stream.getvalue())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30)
    lying = film_inputs(stream.getvalue(), FOUR, LIMITS)["frames"][0]
    assert (lying[:, :6] < 30).all()
    assert (lying[:, 10:] > 225).all()
    # A quarter turn clockwise brings the left to the top.
    standing = film_inputs(bytes(content), FOUR, LIMITS)["frames"][0]
    assert (standing[:6] < 30).all()
    assert (standing[10:] > 225).all()


def gif_header(width: int, height: int) -> bytes:
    """A GIF that promises so many pixels and brings none."""
    size = struct.pack("<HH", width, height)
    return b"GIF89a" + size + b"\x80\0\0" + b"\0" * 6 + b"\x2c\0\0\0\0" + size + b"\0\x02\x02\x44\x01\0\x3b"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "null"),
        ("film.mp4", "got str"),
        (b"", "empty"),
        (b"no film", "cannot be decoded"),
        (b"\x00\x00\x00\x18ftypmp42", "cannot be decoded|no film"),
        (b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "cannot be decoded"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "cannot be decoded"),
        (sound(), "no film"),
        (sound("mp3"), "no film"),
        (gif_header(65_535, 65_535), "without pixels|over the limit"),
        (gif_header(9_000, 9_000), "without pixels|over the limit"),
        (gif_header(0, 0), "without pixels|cannot be decoded"),
    ],
    ids=lambda value: repr(value)[:16],
)
def test_what_cannot_be_seen_is_named(content: Any, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        film_inputs(content, FOUR, LIMITS)
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)


def test_limits_are_heeded() -> None:
    content = film(frames=24, rate=12)
    for limits, reason in [
        (VideoLimits(max_bytes=100), "over the limit of 100"),
        (VideoLimits(max_pixels=1_000), "48×32 pixels is over"),
        (VideoLimits(max_frames=20), "more frames than the limit of 20"),
        (VideoLimits(max_seconds=1), "2 seconds is over"),
    ]:
        with pytest.raises(InvalidInputError, match=reason):
            film_inputs(content, FOUR, limits)


@pytest.mark.parametrize(("kind", "options"), [("mkv", {"live": "1"}), ("ts", {})])
def test_a_film_that_states_no_length_is_held_to_the_limit(kind: str, options: dict[str, str]) -> None:
    content = film(kind, frames=60, rate=12, options=options)
    assert film_inputs(content, FOUR, VideoLimits(max_seconds=6))["frames"].shape[0] == 4
    with pytest.raises(InvalidInputError, match="over the limit of 3"):
        film_inputs(content, FOUR, VideoLimits(max_seconds=3))


def test_a_stream_that_does_not_begin_at_zero_is_as_long_as_it_is() -> None:
    content = film("ts", frames=24, options={"output_ts_offset": "7200"})
    assert film_inputs(content, FOUR, VideoLimits(max_seconds=3))["frames"].shape[0] == 4


def test_a_stream_that_grows_inside_is_held_to_the_pixels() -> None:
    content = bytearray(film("avi", size=(48, 32)))
    # The header of the container says 16 by 16; the codec's own says otherwise.
    for place in _all(content, struct.pack("<II", 48, 32)):
        content[place : place + 8] = struct.pack("<II", 16, 16)
    with pytest.raises(InvalidInputError):
        film_inputs(bytes(content), FOUR, VideoLimits(max_pixels=1_000))


def _all(content: bytearray, part: bytes) -> list[int]:
    places, at = [], content.find(part)
    while at >= 0:
        places.append(at)
        at = content.find(part, at + 1)
    return places


@pytest.mark.parametrize("kind", ["mp4", "avi", "mkv"])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_cut_films_are_refused(kind: str, share: float) -> None:
    content = film(kind, frames=48, gap=4)
    with pytest.raises(InvalidInputError):
        film_inputs(content[: int(len(content) * share)], FOUR, LIMITS)


@pytest.mark.parametrize("kind", ["ts", "gif"])
def test_of_a_cut_stream_what_is_there_is_seen(kind: str) -> None:
    content = film(kind, frames=24)
    found = levels(content[: int(len(content) * 0.6)])
    assert found == sorted(found)
    assert found[-1] < 180


def test_pictures_that_move_are_films() -> None:
    stream = io.BytesIO()
    pictures = [Image.new("RGB", (20, 20), (v, v, v)) for v in (0, 80, 160, 240)]
    pictures[0].save(stream, "PNG", save_all=True, append_images=pictures[1:], duration=100)
    np.testing.assert_allclose(levels(stream.getvalue()), [0, 80, 160, 240], atol=3)


@pytest.mark.parametrize("change", [{"frames": 0}, {"frames": 10_000}, {"speed": 1}, {"picture": {"image_size": 0}}])
def test_senseless_records_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(EncoderLoadError):
        VideoPreprocessing.from_dict({**FOUR.to_dict(), **change})


def test_records_survive() -> None:
    assert VideoPreprocessing.from_dict(FOUR.to_dict()) == FOUR


SEEDS = {kind: film(kind, frames=6, size=(32, 32)) for kind in ("mp4", "mkv", "avi", "webm")}


@settings(max_examples=50, deadline=None)
@given(
    kind=st.sampled_from(sorted(SEEDS)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    cut=st.floats(0.1, 1),
)
def test_damaged_films_raise_nothing_else(kind: str, edits: list[tuple[float, int]], cut: float) -> None:
    data = bytearray(SEEDS[kind])
    for place, value in edits:
        data[int(place * (len(data) - 1))] = value
    for content in (bytes(data), bytes(data[: int(len(data) * cut)])):
        try:
            found = film_inputs(content, FOUR, VideoLimits(max_pixels=1_000_000))["frames"]
        except InvalidInputError as error:
            found, reason = None, error.reason
        assert found.shape == (4, 16, 16, 3) if found is not None else "\n" not in reason
