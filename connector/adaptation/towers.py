"""The tower that a job trains: built new, or taken from a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connector.adaptation.sound_spec import NewAudioTower
from connector.adaptation.spec import NewTower, PretrainedTower

if TYPE_CHECKING:
    from encoders.towers.audio import AudioTower
    from encoders.towers.image import ImageTower
    from encoders.towers.video import VideoTower

    AnyTower = ImageTower | AudioTower | VideoTower

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_tower(
    spec: NewTower | NewAudioTower | PretrainedTower,
    dimension: int | None,
    aligned_with: tuple[str, ...],
    medium: str = "image",
) -> AnyTower:
    """A tower whose vectors have `dimension` numbers; its random parts come from torch's seed.

    Args:
        dimension: None: that of a pretrained tower; a new one has none of its own.
        medium: `video`: a new tower, or a pretrained one of pictures, sees each frame; their vectors are averaged.

    Raises:
        EncoderLoadError: a source that cannot be loaded.
    """
    if spec.kind == "pretrained":
        return _pretrained(spec, dimension, aligned_with, medium)
    if dimension is None:
        raise ValueError("a new tower needs a dimension")
    if spec.kind == "new":
        image = _new(spec, dimension, aligned_with)
        return _of_frames(image) if medium == "video" else image
    from encoders.towers.audio import AudioTower

    return AudioTower.small(dimension, widths=spec.hidden_sizes, depths=spec.depths, aligned_with=aligned_with)


def _new(spec: NewTower, dimension: int, aligned_with: tuple[str, ...]) -> ImageTower:
    from torch import nn
    from transformers import ResNetConfig, ResNetModel

    from encoders.media.preprocessing import BILINEAR, ImagePreprocessing
    from encoders.towers.image import ImageTower

    config = ResNetConfig(
        embedding_size=spec.hidden_sizes[0],
        hidden_sizes=list(spec.hidden_sizes),
        depths=list(spec.depths),
        layer_type="basic",
    )
    preprocessing = ImagePreprocessing(
        image_size=spec.image_size, resample=BILINEAR, mean=IMAGENET_MEAN, std=IMAGENET_STD
    )
    projection = nn.Linear(spec.hidden_sizes[-1], dimension)
    return ImageTower(
        ResNetModel(config), preprocessing, pooling="pooler", projection=projection, aligned_with=aligned_with
    )


def _pretrained(spec: PretrainedTower, dimension: int | None, aligned_with: tuple[str, ...], medium: str) -> AnyTower:
    from encoders.registry import REGISTRY
    from encoders.source import resolve

    found: Any = REGISTRY.tower_class(medium).from_folder(resolve(spec.source, medium).path)
    tower: AnyTower = found
    if getattr(tower, "kind", "") == "frames":
        frames: Any = tower
        _suit(frames.backbone, spec, dimension, aligned_with)
        return _of_frames(frames.backbone, frames.preprocessing.frames)
    _suit(tower, spec, dimension, aligned_with)
    return tower


def _suit(tower: Any, spec: PretrainedTower, dimension: int | None, aligned_with: tuple[str, ...]) -> None:
    from torch import nn

    from connector.adaptation.freezing import freeze

    if dimension is not None and tower.dimension != dimension:
        # Another space needs another last layer; what lies before it is kept.
        tower.projection = None
        tower.projection = nn.Linear(tower.dimension, dimension)
    tower.normalize = True
    tower.aligned_with = aligned_with
    freeze(tower, spec.freeze)


def _of_frames(image: ImageTower, frames: int | None = None) -> VideoTower:
    from encoders.towers.video import FRAMES, VideoTower

    return VideoTower.of_frames(image, frames or FRAMES)
