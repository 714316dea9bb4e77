"""Sounds: encoded bytes → mono samples at the network's rate, under limits that hostile files cannot pass."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.errors import InvalidInputError
from encoders.media.audio_preprocessing import AudioPreprocessing
from encoders.media.checks import line_of, require_bytes
from encoders.wire import NO_SOUND

# Real signals stay within ±1 or a little above; a float file that goes far beyond holds something else.
LOUDEST = 100.0
# ID3v2 tags that are looked behind; a file of tags alone would hold up whoever walks through all of them.
MOST_TAGS = 16


@dataclass(frozen=True)
class AudioLimits:
    """What is refused before it is decoded.

    Attributes:
        max_bytes: of the encoded file.
        max_seconds: of the whole sound, as its file states it.
        max_channels: of the file.
        max_rate: samples per second of the file; the least is 1000.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_seconds: int = 4 * 3600
    max_channels: int = 16
    max_rate: int = 384_000


def sound_inputs(content: Any, preprocessing: AudioPreprocessing, limits: AudioLimits) -> dict[str, NDArray[Any]]:
    """Encoded bytes → one row of the network's inputs.

    Raises:
        InvalidInputError: not bytes, over a limit, or not decodable as far as it is used.
    """
    wave = decode_sound(
        content, limits, rate=preprocessing.sample_rate, seconds=preprocessing.max_samples / preprocessing.sample_rate
    )
    return preprocessing.inputs(wave)


def decode_sound(content: Any, limits: AudioLimits, *, rate: int, seconds: float) -> NDArray[np.float32]:
    """Encoded bytes (WAV, FLAC, OGG, MP3, AIFF; through FFmpeg also AAC, Opus, the sound of a film, …) → mono samples.

    Args:
        rate: Hz of the result.
        seconds: of its start that are wanted; what follows is not decoded.

    Returns:
        float32 [n], n ≥ 1.

    Raises:
        InvalidInputError: not bytes, over a limit, without a sound, or not decodable as far as it is wanted.
    """
    data = _without_tags(require_bytes(content, "sound", limits.max_bytes))
    try:
        if _for_soundfile(data):
            wave, native = _by_soundfile(data, limits, seconds)
        else:
            wave, native = _by_ffmpeg(data, limits, seconds)
    except InvalidInputError:
        raise
    except Exception as error:
        raise InvalidInputError(f"sound cannot be decoded ({line_of(error)})") from error
    if not len(wave):
        raise InvalidInputError("sound without samples")
    if not np.isfinite(wave).all() or np.abs(wave).max() > LOUDEST:
        raise InvalidInputError("sound holds samples that are not numbers or far beyond full scale")
    if native != rate:
        import soxr

        wave = soxr.resample(wave, native, rate, quality="HQ").astype(np.float32)
    if not len(wave):
        raise InvalidInputError("sound is too short to be resampled")
    return wave


class _Held(io.BytesIO):
    """Content whose seeks never raise: libsndfile calls them back from C, where an exception cannot pass."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            # As lseek does, it leaves the position alone; the caller notices that it did not get there.
            return self.tell()


def _without_tags(data: bytes) -> bytes:
    """The content behind its ID3v2 tags; nothing, where one states more bytes than there are.

    MPEG audio, AAC and FLAC alike may follow, and libsndfile takes most tags for MPEG audio.
    """
    start = 0
    for _ in range(MOST_TAGS):
        head = data[start : start + 10]
        if len(head) < 10 or head[:3] != b"ID3":
            break
        size = 0
        for part in head[6:]:
            size = size << 7 | part & 0x7F
        start += 10 + size + (10 if head[5] & 0x10 else 0)
    return data[start:]


def _for_soundfile(data: bytes) -> bool:
    """Whether the content starts like a format that libsndfile reads; its rarer formats are left out on purpose."""
    riff = data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE"
    aiff = data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC")
    # MPEG audio, layer III: eleven set bits, then version and layer.
    mp3 = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2
    return riff or aiff or mp3 or data[:4] == b"fLaC" or (data[:4] == b"OggS" and _is_ogg_sound(data))


def _is_ogg_sound(data: bytes) -> bool:
    return b"\x01vorbis" in data[:64] or b"OpusHead" in data[:64]


def _by_soundfile(data: bytes, limits: AudioLimits, seconds: float) -> tuple[NDArray[np.float32], int]:
    import soundfile

    _require_whole(data)
    with soundfile.SoundFile(_Held(data)) as file:
        native = int(file.samplerate)
        _require_shape(native, int(file.channels), limits)
        declared = max(0, int(file.frames))
        _require_duration(declared / native, limits)
        wanted = int(seconds * native) + native // 10
        parts: list[NDArray[np.float32]] = []
        held = 0
        while held < wanted:
            block = file.read(min(native, wanted - held), dtype="float32", always_2d=True)
            if not len(block):
                break
            parts.append(block.mean(axis=1))
            held += len(block)
        # Of MP3 the count is an estimate.
        if held < min(wanted, declared) and file.format != "MP3":
            raise InvalidInputError(f"sound ends early ({held} of {declared} samples are there)")
    return (np.concatenate(parts) if parts else np.zeros(0, np.float32)), native


def _require_whole(data: bytes) -> None:
    # libsndfile takes what is there of a cut WAV or AIFF without a word.
    if data[:4] == b"RF64" and data[12:16] == b"ds64":
        stated = int.from_bytes(data[20:28], "little")
    elif data[:4] in (b"RIFF", b"FORM"):
        stated = int.from_bytes(data[4:8], "little" if data[:4] == b"RIFF" else "big")
    else:
        return
    # Written to a pipe, the size was not known; and a byte that fills up an odd chunk may be missing.
    if stated not in (0, 0xFFFFFFFF) and stated + 8 > len(data) + 1:
        raise InvalidInputError(f"sound ends early ({len(data)} of {stated + 8} bytes are there)")


def _by_ffmpeg(data: bytes, limits: AudioLimits, seconds: float) -> tuple[NDArray[np.float32], int]:
    from encoders.media.ffmpeg import open_media

    with open_media(data) as container:
        if not container.streams.audio:
            raise InvalidInputError(NO_SOUND)
        stream = container.streams.audio[0]
        context = stream.codec_context
        if context is None:
            raise InvalidInputError("sound in a codec that is unknown or not described in it")
        native = int(context.sample_rate or 0)
        _require_shape(native, int(context.channels or 0), limits)
        _require_duration((container.duration or 0) / 1e6, limits)
        stream.thread_type = "NONE"
        parts: list[NDArray[np.float32]] = []
        held = 0
        wanted = int(seconds * native) + native // 10
        for block in _blocks(container, stream, native, limits):
            parts.append(block)
            held += len(block)
            if held >= wanted:
                break
        stated = _stated_seconds(stream)
        if held < wanted and held / native < 0.95 * stated - 0.5:
            raise InvalidInputError(f"sound ends early ({held / native:.1f} of {stated:.1f} seconds are there)")
    return (np.concatenate(parts)[:wanted] if parts else np.zeros(0, np.float32)), native


def _stated_seconds(stream: Any) -> float:
    """How long a Matroska track says that it is; FFmpeg takes what is there of a cut one without a word."""
    found = re.fullmatch(r"([0-9]{1,4}):([0-9]{2}):([0-9]{2}(?:[.][0-9]+)?)", str(stream.metadata.get("DURATION", "")))
    return 0.0 if found is None else int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])


def _blocks(container: Any, stream: Any, native: int, limits: AudioLimits) -> Iterator[NDArray[np.float32]]:
    import av

    resampler = av.AudioResampler(format="fltp")
    for frame in container.decode(stream):
        if frame.sample_rate != native:
            raise InvalidInputError("sound changes its sample rate")
        _require_shape(frame.sample_rate, frame.layout.nb_channels, limits)
        for part in resampler.resample(frame):
            yield part.to_ndarray().mean(axis=0, dtype=np.float32)


def _require_shape(rate: int, channels: int, limits: AudioLimits) -> None:
    if not 1000 <= rate <= limits.max_rate:
        raise InvalidInputError(f"sound of {rate} samples a second is outside 1000..{limits.max_rate}")
    if not 1 <= channels <= limits.max_channels:
        raise InvalidInputError(f"sound of {channels} channels is outside 1..{limits.max_channels}")


def _require_duration(seconds: float, limits: AudioLimits) -> None:
    if seconds > limits.max_seconds:
        raise InvalidInputError(f"sound of {seconds:.0f} seconds is over the limit of {limits.max_seconds}")
