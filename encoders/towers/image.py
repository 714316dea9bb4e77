"""The image tower: a Hugging Face vision backbone, a pooling and an optional projection."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from encoders.errors import EncoderLoadError
from encoders.files import new_folder, write_json
from encoders.media.preprocessing import ImagePreprocessing
from encoders.towers.backbone import BackboneTower
from encoders.towers.base import Batch, Description, Served, shared_space
from encoders.towers.folder import load_backbone, read_config
from encoders.towers.saving import Precision, load_projection, read_record, save_backbone, save_projection, write_record
from encoders.weight_files import WEIGHTS_HASH, require_stated_weights, weights_hash

Pooling = Literal["cls", "mean", "pooler", "projection"]
POOLINGS: tuple[str, ...] = ("cls", "mean", "pooler", "projection")


class ImageTower(BackboneTower):
    """Pictures to unit vectors.

    Args:
        backbone: a transformers vision model (ViT, DINOv2, CLIP or SigLIP vision, ResNet, ConvNeXt, …).
        preprocessing: from a decoded picture to `pixel_values`.
        pooling: `cls` first token; `mean` of patch tokens, or over height and width of a feature map; `pooler`
            the backbone's pooler_output; `projection` CLIP's image_embeds.
        projection: a further linear map of the pooled states, hidden → dim.
        normalize: whether vectors are scaled to unit L2 norm.
        aligned_with: hashes of contracts whose space these vectors were trained into.
    """

    def __init__(
        self,
        backbone: Any,
        preprocessing: ImagePreprocessing,
        *,
        pooling: Pooling = "mean",
        projection: nn.Linear | None = None,
        normalize: bool = True,
        aligned_with: tuple[str, ...] = (),
    ) -> None:
        super().__init__(backbone, projection=projection, normalize=normalize, aligned_with=aligned_with)
        if pooling not in POOLINGS:
            raise EncoderLoadError(f"image tower: pooling {pooling!r} is unknown; use one of {', '.join(POOLINGS)}")
        self.preprocessing = preprocessing
        self.pooling: Pooling = pooling

    @property
    def image_size(self) -> int:
        """Height and width of `pixel_values`."""
        return self.preprocessing.image_size

    def example(self) -> tuple[Tensor, ...]:
        """`pixel_values` of one picture."""
        return (torch.zeros(1, 3, self.image_size, self.image_size),)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """float32 [n, 3, H, W] → float32 [n, dim]."""
        return self.finish(self.pool(pixel_values))

    def pool(self, pixel_values: Tensor) -> Tensor:
        """float32 [n, 3, H, W] → pooled states [n, hidden], before projection and normalisation."""
        output = self.backbone(pixel_values=pixel_values)
        if self.pooling == "projection":
            pooled = output.image_embeds
        elif self.pooling == "pooler":
            pooled = output.pooler_output
        elif output.last_hidden_state.ndim == 4:
            pooled = output.last_hidden_state.mean(dim=(2, 3))
        elif self.pooling == "cls":
            pooled = output.last_hidden_state[:, 0]
        else:
            pooled = output.last_hidden_state[:, self._prefix_tokens(output.last_hidden_state.shape[1]) :].mean(dim=1)
        flat: Tensor = pooled.flatten(1)
        return flat

    @classmethod
    def from_folder(cls, path: str | Path) -> ImageTower:
        """Load a Hugging Face vision folder or a tower folder, in float32 and evaluation mode.

        Raises:
            EncoderLoadError: pickled or incomplete weights, or an architecture that takes no pictures.
        """
        folder = Path(path)
        config = read_config(folder)
        require_stated_weights(folder)
        record = read_record(folder)
        backbone, inferred = _load_vision_model(folder, config, record.get("pooling"))
        stated = record.get("image_size") or _image_size(backbone.config)
        preprocessing = ImagePreprocessing.from_folder(folder, stated)
        tower = cls(
            backbone,
            preprocessing,
            pooling=record.get("pooling", inferred),
            projection=load_projection(folder),
            normalize=bool(record.get("normalize", True)),
            aligned_with=_aligned_with(folder, config, record),
        ).eval()
        try:
            with torch.no_grad():
                tower(*tower.example())
        except Exception as error:
            raise EncoderLoadError(
                f"{folder}: a {config.model_type} model does not take pictures of {tower.image_size} pixels with "
                f"pooling {tower.pooling} ({' '.join(str(error).split())[:120]}); state pooling in tower.json"
            ) from error
        return tower

    def save(self, path: str | Path, *, dtype: Precision = "float32", card: str | None = None) -> Path:
        """Write a tower folder, replacing one that is there, all of it or nothing.

        Args:
            dtype: of the weights on disk; they are upcast to float32 when loaded.
            card: text of README.md.
        """
        record = {
            "pooling": self.pooling,
            "normalize": self.normalize,
            "image_size": self.image_size,
            "aligned_with": list(self.aligned_with),
        }
        with new_folder(Path(path)) as folder:
            save_backbone(self.backbone, folder, dtype)
            save_projection(self.projection, folder, dtype)
            write_json(folder / "preprocessor_config.json", self.preprocessing.to_processor())
            write_record(folder, {**record, WEIGHTS_HASH: weights_hash(folder)}, card)
        return Path(path)

    def describe(self) -> Description:
        """What its contract needs."""
        return Description(
            modality="image",
            dimension=self.dimension,
            pooling=self.pooling,
            normalized=self.normalize,
            max_input=self.image_size,
            preprocessing=self.preprocessing.to_dict(),
            aligned_with=self.aligned_with,
        )

    def served(self) -> Served:
        """The module that is turned into a graph: it takes pixels as they are decoded, uint8 [n, H, W, 3]."""
        return Served(
            module=ServedImageTower(self).eval(),
            sample=self._sample,
            axes={"pixels": {0: "pictures"}},
        )

    def _sample(self, rows: int, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        shape = (rows, self.image_size, self.image_size, 3)
        return {"pixels": torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)}

    def _prefix_tokens(self, tokens: int) -> int:
        patch = getattr(self.backbone.config, "patch_size", None)
        return max(tokens - (self.image_size // patch) ** 2, 0) if isinstance(patch, int) else 0


class ServedImageTower(nn.Module):
    """An image tower behind its scaling and normalisation: a quarter of the bytes to carry, no arithmetic in Python."""

    factor: Tensor
    offset: Tensor

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.tower = tower
        preprocessing = tower.preprocessing
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("factor", (preprocessing.scale / std).view(1, 3, 1, 1))
        self.register_buffer("offset", (-mean / std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [n, H, W, 3] → float32 [n, dim]."""
        values = pixels.permute(0, 3, 1, 2).float()
        vectors: Tensor = self.tower(values * self.factor + self.offset)
        return vectors


def _load_vision_model(folder: Path, config: Any, pooling: str | None) -> tuple[Any, Pooling]:
    """The backbone and the pooling its architecture implies."""
    import transformers

    kind = config.model_type
    if kind in {"clip", "clip_vision_model"}:
        projecting = kind == "clip" or any("Projection" in name for name in config.architectures or ())
        vision = _vision_config(config)
        if projecting and pooling in {None, "projection"}:
            return load_backbone(transformers.CLIPVisionModelWithProjection, folder, config=vision), "projection"
        return load_backbone(transformers.CLIPVisionModel, folder, config=vision), "pooler"
    if kind in {"siglip", "siglip_vision_model"}:
        return load_backbone(transformers.SiglipVisionModel, folder, config=_vision_config(config)), "pooler"
    if type(config) not in transformers.AutoModel._model_mapping:
        raise EncoderLoadError(f"{folder}: a {kind} model has no vision backbone that is supported")
    model_class = transformers.AutoModel._model_mapping[type(config)]
    if model_class.main_input_name != "pixel_values":
        raise EncoderLoadError(f"{folder}: a {kind} model takes {model_class.main_input_name}, not pictures")
    first_token = hasattr(config, "patch_size") and not hasattr(config, "depths")
    implied: Pooling = "cls" if first_token else "pooler"
    may_lack = ("pooler",) if (pooling or implied) != "pooler" else ()
    return load_backbone(transformers.AutoModel, folder, may_lack=may_lack), implied


def _vision_config(config: Any) -> Any:
    """The vision half of a two-tower configuration, with the projection size that the whole states."""
    if not hasattr(config, "vision_config"):
        return config
    vision = config.vision_config
    if hasattr(config, "projection_dim"):
        vision.projection_dim = config.projection_dim
    return vision


def _aligned_with(folder: Path, config: Any, record: dict[str, Any]) -> tuple[str, ...]:
    stated = tuple(str(value) for value in record.get("aligned_with", ()))
    if "aligned_with" in record or not hasattr(config, "text_config"):
        return stated
    return (shared_space(folder),)


def _image_size(config: Any) -> int | None:
    size = getattr(config, "image_size", None)
    if isinstance(size, (list, tuple)) and len(set(size)) == 1:
        size = size[0]
    return int(size) if isinstance(size, int) else None
