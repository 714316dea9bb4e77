"""What a contrastive job does with its medium: pictures, sounds or films → arrays that are kept → a tower's inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from connector.adaptation.augment import augment
from connector.adaptation.augment_sounds import augment_sounds
from connector.adaptation.sound_spec import SECONDS, SoundAugmentation
from connector.adaptation.spec import Augmentation, ContrastiveSpec, PretrainedTower
from connector.errors import ConfigurationError
from encoders.image import ImageEncoder
from encoders.media.decoding import Recipe
from encoders.media.preprocessing import ImagePreprocessing
from encoders.media.sandbox import Sandbox
from encoders.media.video import VideoPreprocessing

if TYPE_CHECKING:
    from encoders.media.audio_preprocessing import AudioPreprocessing
    from encoders.towers.audio import AudioTower

# What one decibel is in the units of a spectrogram.
DECIBEL = {"natural": float(np.log(10) / 10), "log10": 0.1, "decibel": 1.0}


class Medium(Protocol):
    """One kind of media, whose files are decoded in a process of its own: one that crashes it is left out.

    Attributes:
        name: `image`, `audio` or `video`.
        shape, dtype: of one decoded row as it is kept.
    """

    name: str
    shape: tuple[int, ...]
    dtype: type

    def decode(self, content: Any) -> NDArray[Any]:
        """File bytes → one row; raises ValueError for what cannot be used."""

    def inputs(self, rows: NDArray[Any], generator: torch.Generator | None) -> tuple[Tensor, ...]:
        """Rows [n, *shape] → the tower's inputs on its device, changed by `generator` where one is given."""

    def together(self, rows: NDArray[Any]) -> list[NDArray[np.int64]]:
        """Places of rows [n, *shape] by those that one pass may take without a vector that differs from the served."""

    def close(self) -> None:
        """End the decoding process; it is started again if need be."""


def medium_of(spec: ContrastiveSpec, tower: Any, device: torch.device) -> Medium:
    """The medium that a tower takes.

    Raises:
        ConfigurationError: `train_size` for a tower that takes sounds, more seconds than it hears, or an augmentation
            of spectrograms for one that takes waves.
    """
    from encoders.towers.audio import AudioTower
    from encoders.towers.video import VideoTower

    told: Any = spec.tower
    size = told.train_size if isinstance(told, PretrainedTower) else None
    if isinstance(tower, VideoTower):
        return FilmMedium(tower.preprocessing, spec.augmentation, device, size)
    if not isinstance(tower, AudioTower):
        return PictureMedium(tower.preprocessing, spec.augmentation, device, size)
    if isinstance(told, PretrainedTower):
        _require_heeded(told, tower.preprocessing)
    return SoundMedium(tower, told.seconds or SECONDS, told.augmentation or SoundAugmentation(), device)


def _require_heeded(told: PretrainedTower, preprocessing: AudioPreprocessing) -> None:
    if told.train_size is not None:
        raise ConfigurationError(
            f"tower.train_size {told.train_size}: the tower takes sounds, which have no such size; leave it out"
        )
    rate = preprocessing.sample_rate
    if told.seconds is not None and int(told.seconds * rate) > preprocessing.max_samples:
        raise ConfigurationError(
            f"tower.seconds {told.seconds:g}: the encoder hears the first {preprocessing.max_samples / rate:g} s of a "
            "sound; give no more"
        )
    if told.augmentation is not None and preprocessing.spectrogram is None:
        raise ConfigurationError(
            "tower.augmentation: is of spectrograms, and the tower takes the wave itself; leave it out"
        )


class PictureMedium:
    """Pictures at training resolution, uint8 [side, side, 3]."""

    name = "image"
    dtype: type = np.uint8

    def __init__(
        self, own: ImagePreprocessing, how: Augmentation, device: torch.device, side: int | None = None
    ) -> None:
        self._own_side = own.image_size
        self._side = side or own.image_size
        scaled = round(own.resize_to * self._side / own.image_size)
        self.preprocessing = replace(own, image_size=self._side, resize_to=scaled)
        self._how, self._device = how, device
        self.shape: tuple[int, ...] = (self._side, self._side, 3)
        self._sandbox = Sandbox(Recipe("image", self.preprocessing.to_dict(), {}), seconds=ImageEncoder.patience)
        shape = (1, 3, 1, 1)
        mean, std = torch.tensor(own.mean, device=device), torch.tensor(own.std, device=device)
        self._factor, self._offset = (255 * own.scale / std).view(shape), (mean / std).view(shape)

    def decode(self, content: Any) -> NDArray[np.uint8]:
        """File bytes → uint8 [side, side, 3]."""
        return self._sandbox.decode(content)["pixels"]

    def inputs(self, rows: NDArray[Any], generator: torch.Generator | None) -> tuple[Tensor, ...]:
        """uint8 [n, side, side, 3] → `pixel_values` float32 [n, 3, H, W]; unchanged ones of the tower's own size."""
        changed = self.changed(torch.from_numpy(rows).to(self._device).permute(0, 3, 1, 2), generator)
        return (self.scaled(changed).contiguous(memory_format=torch.channels_last),)

    def changed(self, pictures: Tensor, generator: torch.Generator | None) -> Tensor:
        """uint8 [n, channels, side, side] → float32 [n, channels, H, W] in [0, 1]; all frames are changed alike."""
        real = pictures.float().div_(255)
        if generator is not None:
            return augment(real, self._side, self._how, generator)
        if self._side != self._own_side:
            return functional.interpolate(real, size=(self._own_side, self._own_side), mode="bilinear")
        return real

    def scaled(self, pictures: Tensor) -> Tensor:
        """float32 [n, 3, H, W] in [0, 1] → as the tower takes them, in place."""
        return pictures.mul_(self._factor).sub_(self._offset)

    def together(self, rows: NDArray[Any]) -> list[NDArray[np.int64]]:
        """Places of rows: one group of all."""
        return [np.arange(len(rows))]

    def close(self) -> None:
        """End the decoding process."""
        self._sandbox.close()


class FilmMedium:
    """Frames of films at training resolution, uint8 [frames, side, side, 3]."""

    name = "video"
    dtype: type = np.uint8

    def __init__(
        self, own: VideoPreprocessing, how: Augmentation, device: torch.device, side: int | None = None
    ) -> None:
        self._pictures, self._device = PictureMedium(own.picture, how, device, side), device
        preprocessing = replace(own, picture=self._pictures.preprocessing)
        self._sandbox = Sandbox(Recipe("video", preprocessing.to_dict(), {}))
        self.shape: tuple[int, ...] = (own.frames, *self._pictures.shape)

    def decode(self, content: Any) -> NDArray[np.uint8]:
        """File bytes → uint8 [frames, side, side, 3]."""
        return self._sandbox.decode(content)["frames"]

    def inputs(self, rows: NDArray[Any], generator: torch.Generator | None) -> tuple[Tensor, ...]:
        """uint8 [n, frames, side, side, 3] → `pixel_values` float32 [n, frames, 3, H, W]."""
        films = torch.from_numpy(rows).to(self._device).permute(0, 1, 4, 2, 3)
        changed = self._pictures.changed(films.flatten(1, 2), generator)
        pictures = self._pictures.scaled(changed.view(-1, 3, *changed.shape[-2:]))
        return (pictures.view(len(rows), -1, *pictures.shape[1:]),)

    def together(self, rows: NDArray[Any]) -> list[NDArray[np.int64]]:
        """Places of rows: one group of all."""
        return [np.arange(len(rows))]

    def close(self) -> None:
        """End the decoding process."""
        self._sandbox.close()


class SoundMedium:
    """The start of sounds as the tower's values, float16 [time, values + 1]; the last column says what is real."""

    name = "audio"
    dtype: type = np.float16

    def __init__(self, tower: AudioTower, seconds: float, how: SoundAugmentation, device: torch.device) -> None:
        preprocessing = tower.preprocessing
        self._preprocessing, self._how, self._device = preprocessing, how, device
        rate = preprocessing.sample_rate
        self._samples = min(int(seconds * rate), preprocessing.max_samples)
        self._sandbox = Sandbox(Recipe("wave", {"rate": rate, "seconds": self._samples / rate}, {}))
        silence = preprocessing.inputs(np.zeros(self._samples, np.float32))[preprocessing.names[0]]
        self._silence = float(silence.min())
        self._flat = silence.ndim == 1
        # Without a mask such a tower takes silence for sound, and none is added to what is served.
        self._bare = preprocessing.fill == "own" and not preprocessing.mask and not preprocessing.frames
        self.shape: tuple[int, ...] = (len(silence), 2 if self._flat else silence.shape[1] + 1)

    def decode(self, content: Any) -> NDArray[np.float16]:
        """File bytes → float16 [time, values + 1]."""
        preprocessing = self._preprocessing
        row = preprocessing.inputs(self._sandbox.decode(content)["wave"][: self._samples])
        values = row[preprocessing.names[0]].reshape(-1, self.shape[1] - 1)
        real = row["mask"] if preprocessing.mask else np.ones(len(values))
        kept = np.full(self.shape, self._silence, np.float16)
        kept[:, -1] = 0
        kept[: len(values), :-1] = values
        kept[: len(values), -1] = real
        return kept

    def inputs(self, rows: NDArray[Any], generator: torch.Generator | None) -> tuple[Tensor, ...]:
        """float16 [n, time, values + 1] → values float32 [n, time(, mels)], and the mask where the tower takes one.

        Without a generator they end with the longest of the rows, where the tower takes sounds of any length unmasked.
        """
        if self._bare and generator is None:
            rows = rows[:, : self._lengths(rows).max()]
        kept = torch.from_numpy(rows).float()
        values, mask = kept[..., :-1], kept[..., -1].long()
        spectrogram = self._preprocessing.spectrogram
        if generator is not None and spectrogram is not None:
            per_decibel = spectrogram.factor * DECIBEL[spectrogram.log]
            values = augment_sounds(values, mask, self._how, per_decibel, self._silence, generator)
        values = (values.squeeze(-1) if self._flat else values).to(self._device)
        return (values, mask.to(self._device)) if self._preprocessing.mask else (values,)

    def together(self, rows: NDArray[Any]) -> list[NDArray[np.int64]]:
        """Places of rows by those of one length, where silence at the end would change a vector."""
        if not self._bare:
            return [np.arange(len(rows))]
        lengths = self._lengths(rows)
        return [np.flatnonzero(lengths == length) for length in np.unique(lengths)]

    def _lengths(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        return np.asarray(np.count_nonzero(rows[..., -1], axis=1), np.int64)

    def close(self) -> None:
        """End the decoding process."""
        self._sandbox.close()
