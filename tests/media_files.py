"""Sounds and films made for tests."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Name → file format and encoding of libsndfile.
SOUND_KINDS = {
    "wav": ("WAV", "PCM_16"),
    "wav float": ("WAV", "FLOAT"),
    "wav u-law": ("WAV", "ULAW"),
    "rf64": ("RF64", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
}
# Name → container and codec of FFmpeg.
FILM_KINDS = {
    "mp4": ("mp4", "libx264"),
    "mkv": ("matroska", "libx264"),
    "webm": ("webm", "libvpx"),
    "avi": ("avi", "mpeg4"),
    "ts": ("mpegts", "mpeg2video"),
    "gif": ("gif", "gif"),
}


def wave(hertz: float = 440.0, seconds: float = 1.0, rate: int = 16_000, channels: int = 1) -> NDArray[np.float32]:
    """A tone of amplitude 0.5, float32 [n, channels]; all but the first channel are silent."""
    samples = np.zeros((int(seconds * rate), channels), np.float32)
    samples[:, 0] = 0.5 * np.sin(2 * np.pi * hertz * np.arange(len(samples)) / rate)
    return samples


def sound(kind: str = "wav", samples: NDArray[Any] | None = None, rate: int = 16_000, **how: Any) -> bytes:
    """Encoded bytes of samples, or of a tone (`hertz`, `seconds`, `channels`)."""
    import soundfile

    container, encoding = SOUND_KINDS[kind]
    stream = io.BytesIO()
    content = wave(rate=rate, **how) if samples is None else samples
    soundfile.write(stream, content, rate, format=container, subtype=encoding)
    return stream.getvalue()


def film(
    kind: str = "mp4",
    frames: int = 24,
    size: tuple[int, int] = (48, 32),
    rate: int = 12,
    *,
    sound: NDArray[np.float32] | None = None,
    gap: int = 8,
    seed: int = 0,
    options: dict[str, str] | None = None,
) -> bytes:
    """Encoded bytes of a film whose i-th frame has the brightness 8 + i * 240 / frames, on a patterned ground.

    Args:
        sound: mono at 16 kHz, encoded as AAC beside it.
        gap: frames from one key frame to the next.
        options: of FFmpeg's writer of the container.
    """
    import av

    container_name, codec = FILM_KINDS[kind]
    stream = io.BytesIO()
    width, height = size
    pattern = np.random.default_rng(seed).integers(-6, 7, (height // 8, width // 8, 3)).repeat(8, 0).repeat(8, 1)
    with av.open(stream, mode="w", format=container_name, options=options or {}) as container:
        video: Any = container.add_stream(codec, rate=Fraction(rate))
        video.width, video.height = width, height
        video.pix_fmt = "rgb8" if kind == "gif" else "yuv420p"
        video.gop_size = gap
        video.thread_type = "NONE"
        audio: Any = None if sound is None else container.add_stream("aac", rate=16_000, layout="mono")
        for index in range(frames):
            level = 8 + index * 240 // frames
            array = np.clip(np.full((height, width, 3), level) + pattern, 0, 255).astype(np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None and sound is not None:
            for start in range(0, len(sound), 1024):
                part = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], format="fltp", layout="mono")
                part.sample_rate = 16_000
                part.pts = start
                container.mux(audio.encode(part))
            container.mux(audio.encode(None))
    return stream.getvalue()
