"""What happens to a decoded sound before the network hears it, as one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from encoders.errors import EncoderLoadError
from encoders.files import read_json
from encoders.media.spectrogram import Spectrogram, log_mel

Fill = Literal["own", "zero", "repeat", "repeat_zero"]
# Of networks that take waves of any length: more than this is not listened to.
WAVE_SECONDS = 30
MOST_SECONDS = 600


@dataclass(frozen=True)
class AudioPreprocessing:
    """From mono samples to what the network takes.

    Attributes:
        sample_rate: Hz that sounds are resampled to.
        max_samples: of the start of a sound that are used.
        fill: how a shorter sound is brought to `max_samples`: `zero` adds silence, `repeat` repeats it and cuts,
            `repeat_zero` repeats it whole times and adds silence; `own` leaves it its length.
        multiple: with `own`, silence is added up to a multiple of so many samples.
        least: with `own`, silence is added up to so many samples.
        standardize: whether the samples get zero mean and unit variance.
        mask: whether the network is told which frames (or samples) are real.
        frames: spectrograms are cut or filled up to so many frames; 0 leaves them.
        spectrogram: None for networks that take the wave itself.
    """

    sample_rate: int
    max_samples: int
    fill: Fill = "own"
    multiple: int = 1
    least: int = 1
    standardize: bool = False
    mask: bool = False
    frames: int = 0
    spectrogram: Spectrogram | None = None

    def __post_init__(self) -> None:
        if self.fill not in {"own", "zero", "repeat", "repeat_zero"}:
            raise EncoderLoadError(f"audio preprocessing: fill {self.fill!r} is unknown")
        sound = 1000 <= self.sample_rate <= 192_000 and 1 <= self.multiple <= self.max_samples
        if not sound or not self.least <= self.max_samples <= MOST_SECONDS * self.sample_rate:
            raise EncoderLoadError(
                f"audio preprocessing: sample_rate {self.sample_rate}, max_samples {self.max_samples}, least "
                f"{self.least} and multiple {self.multiple} make no sense together"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Inputs of the network, in order."""
        return ("wave" if self.spectrogram is None else "features", *(("mask",) if self.mask else ()))

    @property
    def max_input(self) -> int:
        """Milliseconds of a sound that are used."""
        return 1000 * self.max_samples // self.sample_rate

    def inputs(self, wave: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Mono samples, float32 [n ≥ 1] → one row of the network's inputs, without the axis of rows.

        `wave` float32 [samples] or `features` float32 [frames, mels]; `mask` int64 [samples or frames].
        """
        wave = wave[: self.max_samples]
        real = len(wave)
        if self.standardize:
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        wave = self._filled(wave)
        if self.spectrogram is None:
            values, known = wave.astype(np.float32), real
        else:
            values = log_mel(wave, self.sample_rate, self.spectrogram, self.frames)
            known = min(len(values), -(-real // self.spectrogram.hop))
        row: dict[str, NDArray[Any]] = {self.names[0]: values}
        if self.mask:
            row["mask"] = (np.arange(len(values)) < known).astype(np.int64)
        return row

    def _filled(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.fill == "own":
            target = -(-max(len(wave), self.least) // self.multiple) * self.multiple
        else:
            target = self.max_samples
            if self.fill == "repeat":
                return np.resize(wave, target)
            if self.fill == "repeat_zero":
                wave = np.tile(wave, max(1, target // len(wave)))
        return np.pad(wave, (0, max(0, target - len(wave))))

    def to_dict(self) -> dict[str, Any]:
        """JSON form, the one that is hashed."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> AudioPreprocessing:
        """Read `to_dict`'s form.

        Raises:
            EncoderLoadError: fields missing, unknown or senseless.
        """
        try:
            spectrogram = record.get("spectrogram")
            return cls(**{**record, "spectrogram": None if spectrogram is None else Spectrogram(**spectrogram)})
        except (TypeError, ValueError) as error:
            raise EncoderLoadError(f"audio preprocessing: {error}") from error


def preprocessing_of(folder: Path, config: Any) -> AudioPreprocessing:
    """Read a Hugging Face audio folder: `preprocessor_config.json` where it is there, else what its kind was made for.

    Args:
        config: the model's configuration, as transformers reads it.

    Raises:
        EncoderLoadError: an architecture that takes no sound, or settings that are not supported.
    """
    names = ("preprocessor_config.json", "processor_config.json")
    record = next((read_json(folder / name) for name in names if (folder / name).is_file()), {})
    record = record.get("feature_extractor") or record
    kind = config.model_type
    if kind == "audio-spectrogram-transformer":
        return _ast(record, config)
    if kind in {"clap", "clap_audio_model"}:
        return _clap(record, config)
    if kind == "whisper":
        return _whisper(record, config)
    if hasattr(config, "conv_kernel"):
        return _wave(record, config)
    raise EncoderLoadError(f"{folder}: a {kind} model takes no sound")


def _ast(record: Mapping[str, Any], config: Any) -> AudioPreprocessing:
    rate, frames = int(record.get("sampling_rate", 16_000)), int(record.get("max_length", config.max_length))
    normalise = record.get("do_normalize", True)
    mean, std = float(record.get("mean", -4.2677393)), float(record.get("std", 4.5689974))
    settings = Spectrogram(
        window=400, hop=160, fft=512, mels=int(record.get("num_mel_bins", config.num_mel_bins)), low=20.0,
        high=rate // 2, scale="kaldi", periodic=False, centered=False, remove_offset=True, preemphasis=0.97,
        floor=1.192092955078125e-07, offset=mean if normalise else 0.0, factor=1 / (2 * std) if normalise else 1.0,
    )  # fmt: skip
    samples = settings.window + settings.hop * (frames - 1)
    return AudioPreprocessing(rate, samples, least=settings.window, frames=frames, spectrogram=settings)


def _clap(record: Mapping[str, Any], config: Any) -> AudioPreprocessing:
    audio = getattr(config, "audio_config", config)
    fused = record.get("truncation", "fusion" if audio.enable_fusion else "rand_trunc") == "fusion"
    rate, padding = int(record.get("sampling_rate", 48_000)), record.get("padding", "repeatpad")
    fills: dict[str, Fill] = {"repeatpad": "repeat_zero", "repeat": "repeat", "pad": "zero"}
    if padding not in fills:
        raise EncoderLoadError(f"audio preprocessing: padding {padding!r} is unknown; use one of {', '.join(fills)}")
    window = int(record.get("fft_window_size", 1024))
    settings = Spectrogram(
        window=window, hop=int(record.get("hop_length", 480)), fft=window,
        mels=int(record.get("feature_size", audio.num_mel_bins)), low=float(record.get("frequency_min", 0)),
        high=float(record.get("frequency_max", 14_000)), scale="htk" if fused else "slaney", area_norm=not fused,
        log="decibel",
    )  # fmt: skip
    samples = int(record.get("max_length_s", 10)) * rate
    return AudioPreprocessing(rate, samples, fill=fills[padding], spectrogram=settings)


def _whisper(record: Mapping[str, Any], config: Any) -> AudioPreprocessing:
    rate, hop = int(record.get("sampling_rate", 16_000)), int(record.get("hop_length", 160))
    window = int(record.get("n_fft", 400))
    settings = Spectrogram(
        window=window, hop=hop, fft=window, mels=int(record.get("feature_size", config.num_mel_bins)), low=0.0,
        high=8000.0, scale="slaney", area_norm=True, log="log10", drop_last=True, span=8.0, offset=-4.0, factor=0.25,
    )  # fmt: skip
    samples = 2 * config.max_source_positions * hop
    return AudioPreprocessing(rate, samples, fill="zero", mask=True, spectrogram=settings)


def _wave(record: Mapping[str, Any], config: Any) -> AudioPreprocessing:
    rate = int(record.get("sampling_rate", 16_000))
    least = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        least = (least - 1) * stride + kernel
    # Where the first layer is normalised over time, silence at the end changes every frame: no filling up, no mask.
    masked = getattr(config, "feat_extract_norm", "layer") == "layer"
    return AudioPreprocessing(
        rate,
        WAVE_SECONDS * rate,
        multiple=rate // 4 if masked else 1,
        least=least,
        standardize=bool(record.get("do_normalize", True)),
        mask=masked,
    )
