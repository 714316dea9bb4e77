"""The audio tower: a Hugging Face audio backbone, its pooling and an optional projection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoders.errors import EncoderLoadError
from encoders.files import new_folder
from encoders.media.audio_preprocessing import AudioPreprocessing, preprocessing_of
from encoders.media.spectrogram import Spectrogram
from encoders.towers.audio_backbones import FAMILIES, Family, load_audio_backbone, pool
from encoders.towers.backbone import BackboneTower
from encoders.towers.base import Batch, Description, Served, shared_space
from encoders.towers.folder import read_config
from encoders.towers.saving import (
    Precision,
    load_projection,
    read_record,
    save_backbone,
    save_projection,
    write_record,
)
from encoders.weight_files import WEIGHTS_HASH, require_stated_weights, weights_hash

# Of `AudioTower.small`: 25 ms windows every 10 ms at 16 kHz, 64 bands.
SMALL_RATE, SMALL_HOP, SMALL_MELS, SMALL_SECONDS = 16_000, 160, 64, 10


class AudioTower(BackboneTower):
    """Sounds to unit vectors.

    Args:
        backbone: a transformers audio model, or a one-channel ResNet over spectrograms.
        preprocessing: from mono samples to the network's inputs.
        family: how the backbone is called and pooled; one of `FAMILIES`.
        pooling: name of that pooling, for the contract.
        projection: a further linear map of the pooled states, hidden → dim.
        normalize: whether vectors are scaled to unit L2 norm.
        aligned_with: hashes of contracts whose space these vectors were trained into.
    """

    def __init__(
        self,
        backbone: Any,
        preprocessing: AudioPreprocessing,
        *,
        family: Family,
        pooling: str = "mean",
        projection: nn.Linear | None = None,
        normalize: bool = True,
        aligned_with: tuple[str, ...] = (),
    ) -> None:
        super().__init__(backbone, projection=projection, normalize=normalize, aligned_with=aligned_with)
        if family not in FAMILIES:
            raise EncoderLoadError(f"audio tower: family {family!r} is unknown; use one of {', '.join(FAMILIES)}")
        self.preprocessing = preprocessing
        self.family: Family = family
        self.pooling = pooling

    @classmethod
    def small(
        cls,
        dimension: int = 384,
        *,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        depths: tuple[int, ...] = (1, 1, 1, 1),
        aligned_with: tuple[str, ...] = (),
    ) -> AudioTower:
        """An untrained convolutional network over log-mel frames, for sounds of any length up to ten seconds.

        Args:
            dimension: of its vectors; that of the text encoder it will be trained against.
            widths, depths: channels and blocks of each stage.
        """
        import transformers

        config = transformers.ResNetConfig(
            num_channels=1,
            embedding_size=widths[0],
            hidden_sizes=list(widths),
            depths=list(depths),
            layer_type="basic",
        )
        stride = 4 * 2 ** (len(widths) - 1)
        spectrogram = Spectrogram(
            window=400, hop=SMALL_HOP, fft=512, mels=SMALL_MELS, low=40.0, high=7600.0, scale="slaney",
            area_norm=True, floor=1e-6, drop_last=True, offset=-7.0, factor=0.25,
        )  # fmt: skip
        bucket = stride * SMALL_HOP
        preprocessing = AudioPreprocessing(
            SMALL_RATE,
            SMALL_SECONDS * SMALL_RATE // bucket * bucket,
            multiple=bucket,
            mask=True,
            spectrogram=spectrogram,
        )
        return cls(
            transformers.ResNetModel(config),
            preprocessing,
            family="spectrogram",
            projection=nn.Linear(widths[-1], dimension),
            aligned_with=aligned_with,
        )

    def example(self) -> tuple[Tensor, ...]:
        """What the preprocessing makes of one short sound."""
        return tuple(self._sample(1, 0).values())

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Waves float32 [n, samples] or features float32 [n, frames, mels] → float32 [n, dim].

        Args:
            mask: int64, 1 where samples or frames are real; where the preprocessing gives one.
        """
        return self.finish(self.pool(values, mask))

    def pool(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pooled states [n, hidden], before projection and normalisation."""
        return pool(self.family, self.backbone, values, mask)

    @classmethod
    def from_folder(cls, path: str | Path) -> AudioTower:
        """Load a Hugging Face audio folder or a tower folder, in float32 and evaluation mode.

        Raises:
            EncoderLoadError: pickled or incomplete weights, or an architecture that takes no sound.
        """
        folder = Path(path)
        config = read_config(folder)
        require_stated_weights(folder)
        record = read_record(folder)
        loaded = load_audio_backbone(folder, config)
        stated = record.get("preprocessing")
        aligned = tuple(str(value) for value in record.get("aligned_with", ()))
        if not record and hasattr(config, "text_config"):
            aligned = (shared_space(folder),)
        tower = cls(
            loaded.backbone,
            preprocessing_of(folder, config) if stated is None else AudioPreprocessing.from_dict(stated),
            family=loaded.family,
            pooling=str(record.get("pooling", loaded.pooling)),
            projection=load_projection(folder),
            normalize=bool(record.get("normalize", True)),
            aligned_with=aligned,
        ).eval()
        try:
            with torch.no_grad():
                tower(*tower.example())
        except Exception as error:
            raise EncoderLoadError(
                f"{folder}: a {config.model_type} model does not take what its preprocessing gives "
                f"({' '.join(str(error).split())[:120]})"
            ) from error
        return tower

    def save(self, path: str | Path, *, dtype: Precision = "float32", card: str | None = None) -> Path:
        """Write a tower folder, replacing one that is there, all of it or nothing.

        Args:
            dtype: of the weights on disk; they are upcast to float32 when loaded.
            card: text of README.md.
        """
        record = {
            "modality": "audio",
            "pooling": self.pooling,
            "normalize": self.normalize,
            "preprocessing": self.preprocessing.to_dict(),
            "aligned_with": list(self.aligned_with),
        }
        with new_folder(Path(path)) as folder:
            save_backbone(self.backbone, folder, dtype)
            save_projection(self.projection, folder, dtype)
            write_record(folder, {**record, WEIGHTS_HASH: weights_hash(folder)}, card)
        return Path(path)

    def describe(self) -> Description:
        """What its contract needs."""
        return Description(
            modality="audio",
            dimension=self.dimension,
            pooling=self.pooling,
            normalized=self.normalize,
            max_input=self.preprocessing.max_input,
            preprocessing=self.preprocessing.to_dict(),
            aligned_with=self.aligned_with,
        )

    def served(self) -> Served:
        """The module that is turned into a graph."""
        names = self.preprocessing.names
        axes = {
            0: "sounds",
            **({1: "time"} if self.preprocessing.fill == "own" and not self.preprocessing.frames else {}),
        }
        return Served(module=self, sample=self._sample, axes=dict.fromkeys(names, axes))

    def _sample(self, rows: int, seed: int) -> Batch:
        preprocessing = self.preprocessing
        random = np.random.default_rng(seed)
        # Short, but several steps of whatever the network makes of it, and another length for every seed.
        bucket = max(preprocessing.multiple, preprocessing.least, preprocessing.sample_rate // 10)
        most = min(preprocessing.max_samples, (2 + seed) * bucket)
        length = preprocessing.multiple * (most // preprocessing.multiple) or most
        made = []
        for row in range(rows):
            real = length if row == 0 else int(random.integers(length - preprocessing.multiple + 1, length + 1))
            made.append(preprocessing.inputs(random.normal(0, 0.1, real).astype(np.float32)))
        return {name: torch.from_numpy(np.stack([row[name] for row in made])) for name in preprocessing.names}
