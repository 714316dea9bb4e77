"""What happens to a decoded picture before the network sees it, as one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from encoders.errors import EncoderLoadError
from encoders.files import read_json

BICUBIC, BILINEAR = 3, 2
HALF = (0.5, 0.5, 0.5)
# Processors of transformers that take one number as the shortest edge; the others take it as both.
SHORTEST_EDGE = {
    *("CLIP", "ChineseCLIP", "VideoMAE", "Vivit", "ConvNext", "MobileNetV1", "MobileNetV2", "Bit", "PoolFormer"),
}


@dataclass(frozen=True)
class ImagePreprocessing:
    """Resize, centre crop, scale and normalise.

    Attributes:
        image_size: height and width of the network's input, pixels.
        resize: `square` stretches to `resize_to` × `resize_to`; `short_side` keeps the aspect.
        resize_to: pixels; a centre crop to `image_size` follows where it is larger or the aspect was kept.
        resample: Pillow's resampling filter number (2 bilinear, 3 bicubic).
        scale: factor from 0..255 to the network's range.
        mean, std: per RGB channel, after scaling.
    """

    image_size: int
    resize: Literal["square", "short_side"] = "square"
    resize_to: int = 0
    resample: int = BICUBIC
    scale: float = 1 / 255
    mean: tuple[float, float, float] = HALF
    std: tuple[float, float, float] = HALF

    def __post_init__(self) -> None:
        if not self.resize_to:
            object.__setattr__(self, "resize_to", self.image_size)
        if not 1 <= self.image_size <= self.resize_to <= 4096 or self.resample not in range(6):
            raise EncoderLoadError(
                f"image preprocessing: image_size {self.image_size}, resize_to {self.resize_to} and resample "
                f"{self.resample} make no sense together; expected 1 ≤ image_size ≤ resize_to ≤ 4096"
            )
        if any(value == 0 for value in self.std):
            raise EncoderLoadError("image preprocessing: image_std holds a zero; correct preprocessor_config.json")

    def to_dict(self) -> dict[str, Any]:
        """JSON form, the one that is hashed."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ImagePreprocessing:
        """Read `to_dict`'s form.

        Raises:
            EncoderLoadError: fields missing, unknown or senseless.
        """
        try:
            return cls(**{**record, "mean": _triple(record["mean"]), "std": _triple(record["std"])})
        except (TypeError, KeyError, ValueError) as error:
            raise EncoderLoadError(f"image preprocessing: {error}") from error

    @classmethod
    def from_processor(cls, config: Mapping[str, Any], image_size: int | None = None) -> ImagePreprocessing:
        """Read a Hugging Face `preprocessor_config.json` (or the image part of `processor_config.json`).

        Args:
            image_size: the network's own input size, used where the record names none.
        """
        record = config.get("image_processor", config)
        if "feature_extractor_type" in record and "size" not in record:
            record = {**record, "size": image_size}
        shape, side = _side(record.get("size"), image_size)
        if isinstance(record.get("size"), int) and _means_shortest_edge(record):
            shape = "short_side"
        crop = side
        if record.get("do_center_crop"):
            crop = _side(record.get("crop_size"), image_size)[1]
        elif shape == "short_side":
            crop = image_size or side
        if record.get("crop_pct"):
            # ConvNeXt enlarges by 1 / crop_pct and crops back to the stated size; large pictures it stretches.
            shape, side, crop = (
                ("short_side", int(side / record["crop_pct"]), side) if side < 384 else ("square", side, side)
            )
        scale = float(record.get("rescale_factor", 1 / 255)) if record.get("do_rescale", True) else 1.0
        normalise = record.get("do_normalize", True)
        return cls(
            image_size=crop,
            resize="short_side" if shape == "short_side" else "square",
            resize_to=max(side, crop),
            resample=int(record.get("resample", BILINEAR)),
            scale=scale,
            mean=_triple(record.get("image_mean", HALF)) if normalise else (0.0, 0.0, 0.0),
            std=_triple(record.get("image_std", HALF)) if normalise else (1.0, 1.0, 1.0),
        )

    @classmethod
    def from_folder(cls, folder: Path, image_size: int | None = None) -> ImagePreprocessing:
        """Read a model folder; without a processor record: square, bicubic, mean and std one half."""
        for name in ("preprocessor_config.json", "processor_config.json"):
            if (folder / name).is_file():
                return cls.from_processor(read_json(folder / name), image_size)
        if image_size is None:
            raise EncoderLoadError(f"{folder}: no preprocessor_config.json, and config.json names no image_size")
        return cls(image_size=image_size)

    def to_processor(self) -> dict[str, Any]:
        """The same as a Hugging Face `preprocessor_config.json`."""
        side: dict[str, int] = {"height": self.resize_to, "width": self.resize_to}
        if self.resize == "short_side":
            side = {"shortest_edge": self.resize_to}
        return {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": side,
            "resample": self.resample,
            "do_center_crop": self.resize == "short_side" or self.resize_to != self.image_size,
            "crop_size": {"height": self.image_size, "width": self.image_size},
            "do_rescale": True,
            "rescale_factor": self.scale,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }


def _triple(values: Any) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise EncoderLoadError(f"image preprocessing: {values!r} is not one number for each of RGB") from error
    return red, green, blue


def _means_shortest_edge(record: Mapping[str, Any]) -> bool:
    """What one number as `size` says, which each of transformers' processors takes in its own way."""
    name = str(record.get("image_processor_type") or record.get("feature_extractor_type") or "")
    if not name:
        return bool(record.get("do_center_crop"))
    return name.removesuffix("Fast").removesuffix("ImageProcessor").removesuffix("FeatureExtractor") in SHORTEST_EDGE


def _side(size: Any, fallback: int | None) -> tuple[str, int]:
    if isinstance(size, int):
        return "square", size
    if isinstance(size, Mapping):
        if "shortest_edge" in size:
            return "short_side", int(size["shortest_edge"])
        if "height" in size and size.get("height") == size.get("width"):
            return "square", int(size["height"])
    if size is None and fallback:
        return "square", fallback
    raise EncoderLoadError(f"image preprocessing: size {size!r} is not understood; only square inputs are supported")
