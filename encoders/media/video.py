"""Films: encoded bytes → a fixed number of frames, evenly spread, under limits that hostile files cannot pass."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from encoders.errors import EncoderLoadError, InvalidInputError
from encoders.media.checks import line_of, require_bytes
from encoders.media.ffmpeg import open_media
from encoders.media.image import fit
from encoders.media.preprocessing import ImagePreprocessing

MOST_FRAMES = 256
# Without an index, seeking in these lands somewhere near.
UNINDEXED = {"mpeg", "mpegts"}
TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


@dataclass(frozen=True)
class VideoLimits:
    """What is refused before it is decoded.

    Attributes:
        max_bytes: of the encoded file.
        max_pixels: of a frame.
        max_frames: in the file.
        max_seconds: of the film.
    """

    max_bytes: int = 192 * 1024 * 1024
    max_pixels: int = 16_777_216
    max_frames: int = 500_000
    max_seconds: int = 4 * 3600


@dataclass(frozen=True)
class VideoPreprocessing:
    """Which frames of a film are looked at, and what happens to each.

    Attributes:
        frames: how many; the i-th is in the middle of the i-th of so many equal parts.
        picture: resize, crop, scale, normalise.
    """

    frames: int
    picture: ImagePreprocessing

    def __post_init__(self) -> None:
        if not 1 <= self.frames <= MOST_FRAMES:
            raise EncoderLoadError(f"video preprocessing: {self.frames} frames is not within 1..{MOST_FRAMES}")

    def to_dict(self) -> dict[str, Any]:
        """JSON form, the one that is hashed."""
        return {**asdict(self), "picture": self.picture.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> VideoPreprocessing:
        """Read `to_dict`'s form.

        Raises:
            EncoderLoadError: fields missing, unknown or senseless.
        """
        try:
            return cls(**{**record, "picture": ImagePreprocessing.from_dict(record["picture"])})
        except (TypeError, KeyError) as error:
            raise EncoderLoadError(f"video preprocessing: {error}") from error


def film_inputs(content: Any, preprocessing: VideoPreprocessing, limits: VideoLimits) -> dict[str, NDArray[Any]]:
    """Encoded bytes → `frames`, uint8 [frames, size, size, 3], before scaling and normalisation.

    Raises:
        InvalidInputError: not bytes, over a limit, or not decodable where frames are taken.
    """
    data = require_bytes(content, "film", limits.max_bytes)
    try:
        times, keys = _scan(data, limits)
        count = preprocessing.frames
        wanted = [times[(2 * i + 1) * len(times) // (2 * count)] for i in range(count)]
        pictures = {
            time: np.asarray(fit(picture, preprocessing.picture))
            for time, picture in _pictures(data, sorted(set(wanted)), keys, limits)
        }
    except InvalidInputError:
        raise
    except Exception as error:
        raise InvalidInputError(f"film cannot be decoded ({line_of(error)})") from error
    return {"frames": np.stack([pictures[time] for time in wanted])}


def _scan(data: bytes, limits: VideoLimits) -> tuple[list[int], list[int]]:
    """Times of all frames and of those that decoding can start at, from the packets: nothing is decoded."""
    with open_media(data) as container:
        stream = _video_stream(container, limits)
        stated = container.duration / 1e6 if container.duration else 0.0
        if stated > limits.max_seconds:
            raise InvalidInputError(f"film of {stated:.0f} seconds is over the limit of {limits.max_seconds}")
        times: list[int] = []
        keys: list[int] = []
        last = 0.0
        start = None if container.start_time is None else container.start_time / 1e6
        for packet in container.demux():
            if not packet.size:
                continue
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None and packet.time_base is not None:
                last = max(last, float((time + (packet.duration or 0)) * packet.time_base))
                start = min(last if start is None else start, float(time * packet.time_base))
                # What is stated may be a lie, and a stream states nothing.
                if last - start > limits.max_seconds:
                    raise InvalidInputError(f"film is over the limit of {limits.max_seconds} seconds")
            if packet.stream_index != stream.index or packet.is_corrupt:
                continue
            if time is None:
                raise InvalidInputError("film whose frames have no times; put it into a container (MP4, MKV, WebM)")
            times.append(time)
            if packet.is_keyframe:
                keys.append(time)
            if len(times) > limits.max_frames:
                raise InvalidInputError(f"film has more frames than the limit of {limits.max_frames}")
        if not times:
            raise InvalidInputError("film without frames")
        if stream.frames > len(times) or last - (start or 0.0) < 0.95 * stated - 0.5:
            raise InvalidInputError(
                f"film ends early (after {len(times)} frames, {max(0.0, last - (start or 0.0)):.1f} seconds)"
            )
    return sorted(times), sorted(keys)


def _pictures(
    data: bytes, wanted: list[int], keys: list[int], limits: VideoLimits
) -> Iterator[tuple[int, Image.Image]]:
    """The frame shown at each wanted time (ascending), decoded from the nearest place before it."""
    with open_media(data) as container:
        stream = _video_stream(container, limits)
        frames = container.decode(stream)
        if UNINDEXED.intersection(container.format.name.split(",")):
            keys = []
        at, picture = None, None
        for time in wanted:
            place = bisect_right(keys, time) - 1
            if place >= 0 and (keys[place] > at if at is not None else place > 0):
                container.seek(keys[place], stream=stream, backward=True)
                frames = container.decode(stream)
                at = None
            while at is None or at < time:
                frame = next(frames, None)
                if frame is None:
                    break
                # A frame without a time is the one after the last.
                at = frame.pts if frame.pts is not None else (time if at is None else at + 1)
                if at >= time:
                    picture = _picture(frame, limits)
            if picture is None:
                raise InvalidInputError("film without a frame that can be decoded")
            yield time, picture


def _video_stream(container: Any, limits: VideoLimits) -> Any:
    if not container.streams.video:
        raise InvalidInputError("holds no film")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context is None:
        raise InvalidInputError("film in a codec that is unknown or not described in it")
    _require_size(context.width, context.height, limits)
    # Many films are decoded side by side; and threads hold frames back in numbers.
    stream.thread_type = "NONE"
    context.options = {"max_pixels": str(limits.max_pixels)}
    return stream


def _picture(frame: Any, limits: VideoLimits) -> Image.Image:
    _require_size(frame.width, frame.height, limits)
    picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
    turn = TURNS.get(int(getattr(frame, "rotation", 0)) % 360)
    return picture if turn is None else picture.transpose(turn)


def _require_size(width: int, height: int, limits: VideoLimits) -> None:
    if width < 1 or height < 1:
        raise InvalidInputError("film without pixels")
    if width * height > limits.max_pixels:
        raise InvalidInputError(f"film of {width}×{height} pixels is over the limit of {limits.max_pixels}")
