"""Log-mel spectrograms in numpy, the way the audio networks were trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from encoders.errors import EncoderLoadError

Scale = Literal["htk", "kaldi", "slaney"]
Log = Literal["natural", "log10", "decibel"]
# Slaney's scale: linear up to 1000 Hz, logarithmic above it.
SLANEY_HERTZ, SLANEY_MEL, SLANEY_STEP = 1000.0, 15.0, 27.0 / np.log(6.4)


@dataclass(frozen=True)
class Spectrogram:
    """From a waveform to log-mel frames.

    Attributes:
        window, hop, fft: samples of the Hann window, between frames, and of the Fourier transform.
        mels: bands.
        low, high: Hz, of the lowest and the highest band's edge.
        scale: mel scale; `kaldi` has its triangles in mel, the others in Hz.
        area_norm: whether every band is divided by its width.
        periodic: whether the Hann window is periodic (else symmetric).
        centered: whether frames are centred on their samples, the ends mirrored.
        remove_offset: whether the mean of every frame is subtracted.
        preemphasis: factor of the high-pass filter within a frame.
        log, floor: logarithm, and the least power before it.
        drop_last: whether the last frame is left out.
        span: where above zero, the most that a frame lies below the loudest, in units of `log`.
        offset, factor: the result is `(x - offset) * factor`.
    """

    window: int
    hop: int
    fft: int
    mels: int
    low: float
    high: float
    scale: Scale = "htk"
    area_norm: bool = False
    periodic: bool = True
    centered: bool = True
    remove_offset: bool = False
    preemphasis: float = 0.0
    log: Log = "natural"
    floor: float = 1e-10
    drop_last: bool = False
    span: float = 0.0
    offset: float = 0.0
    factor: float = 1.0

    def __post_init__(self) -> None:
        sound = self.hop >= 1 and 2 <= self.window <= self.fft <= 16384 and 1 <= self.mels <= 512
        if not sound or not 0 <= self.low < self.high or self.floor <= 0:
            raise EncoderLoadError("spectrogram: window, hop, fft, mels, band edges or floor make no sense together")
        if self.scale not in {"htk", "kaldi", "slaney"} or self.log not in {"natural", "log10", "decibel"}:
            raise EncoderLoadError(f"spectrogram: scale {self.scale!r} or log {self.log!r} is unknown")

    def frames_of(self, samples: int) -> int:
        """How many frames a waveform gives."""
        if self.centered:
            return 1 + samples // self.hop - int(self.drop_last)
        return max(0, 1 + (samples - self.window) // self.hop) - int(self.drop_last)


def log_mel(wave: NDArray[np.float32], rate: int, settings: Spectrogram, frames: int = 0) -> NDArray[np.float32]:
    """float32 [samples] → float32 [frames, mels].

    Args:
        wave: mono, in -1..1.
        rate: samples per second.
        frames: cut, or filled up with zeros before `offset` and `factor`, to so many frames; 0 leaves them.
    """
    samples = wave.astype(np.float64)
    if settings.centered:
        half = settings.window // 2
        samples = np.pad(samples, (half, half), mode="reflect" if len(samples) > half else "constant")
    framed = sliding_window_view(samples, settings.window)[:: settings.hop]
    if settings.remove_offset:
        framed = framed - framed.mean(axis=1, keepdims=True)
    if settings.preemphasis:
        first = framed[:, :1] * (1 - settings.preemphasis)
        framed = np.concatenate([first, framed[:, 1:] - settings.preemphasis * framed[:, :-1]], axis=1)
    # Single precision before the square, as in the implementations that the networks were trained with.
    spectrum = np.fft.rfft(framed * _hann(settings.window, settings.periodic), settings.fft).astype(np.complex64)
    power = spectrum.real.astype(np.float64) ** 2 + spectrum.imag.astype(np.float64) ** 2
    logs = _log(np.maximum(power @ mel_filters(settings, rate), settings.floor), settings.log)
    if settings.drop_last:
        logs = logs[:-1]
    if settings.span:
        logs = np.maximum(logs, logs.max() - settings.span)
    if frames:
        logs = np.pad(logs[:frames], ((0, max(0, frames - len(logs))), (0, 0)))
    return ((logs - settings.offset) * settings.factor).astype(np.float32)


@lru_cache(maxsize=8)
def mel_filters(settings: Spectrogram, rate: int) -> NDArray[np.float64]:
    """Triangular filters, float64 [fft / 2 + 1, mels]."""
    bins = np.linspace(0, rate / 2, settings.fft // 2 + 1)
    edges = np.linspace(_mel(settings.low, settings.scale), _mel(settings.high, settings.scale), settings.mels + 2)
    hertz = _hertz(edges, settings.scale)
    if settings.scale == "kaldi":
        position, corners = np.asarray(_mel(bins, "kaldi")), edges
    else:
        position, corners = bins, hertz
    width = np.diff(corners)
    slopes = corners[None, :] - position[:, None]
    filters = np.maximum(0, np.minimum(-slopes[:, :-2] / width[:-1], slopes[:, 2:] / width[1:]))
    if settings.area_norm:
        filters = filters * (2.0 / (hertz[2:] - hertz[:-2]))
    return np.ascontiguousarray(filters)


@lru_cache(maxsize=8)
def _hann(length: int, periodic: bool) -> NDArray[np.float64]:
    return np.hanning(length + 1)[:-1] if periodic else np.hanning(length)


def _log(power: NDArray[np.float64], log: Log) -> NDArray[np.float64]:
    if log == "natural":
        return np.log(power)
    return np.log10(power) * (10.0 if log == "decibel" else 1.0)


def _mel(hertz: float | NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    values = np.asarray(hertz, np.float64)
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + values / 700.0)
    if scale == "kaldi":
        return 1127.0 * np.log(1.0 + values / 700.0)
    above = SLANEY_MEL + np.log(np.maximum(values, SLANEY_HERTZ) / SLANEY_HERTZ) * SLANEY_STEP
    return np.where(values < SLANEY_HERTZ, 3.0 * values / 200.0, above)


def _hertz(mel: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    if scale == "kaldi":
        return np.asarray(700.0 * (np.exp(mel / 1127.0) - 1.0))
    above = SLANEY_HERTZ * np.exp((np.maximum(mel, SLANEY_MEL) - SLANEY_MEL) / SLANEY_STEP)
    return np.where(mel < SLANEY_MEL, 200.0 * mel / 3.0, above)
