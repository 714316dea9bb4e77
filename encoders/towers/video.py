"""The video tower: the frames of a film through an image tower and averaged, or a Hugging Face video backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from encoders.errors import EncoderLoadError
from encoders.files import new_folder, write_json
from encoders.media.preprocessing import ImagePreprocessing
from encoders.media.video import VideoPreprocessing
from encoders.towers.backbone import BackboneTower
from encoders.towers.base import Batch, Description, Served, shared_space
from encoders.towers.folder import load_backbone, read_config
from encoders.towers.image import ImageTower
from encoders.towers.saving import Precision, load_projection, read_record, save_backbone, save_projection, write_record
from encoders.weight_files import WEIGHTS_HASH, require_stated_weights, weights_hash

Kind = Literal["frames", "videomae", "xclip"]
FRAMES = 8


class VideoTower(BackboneTower):
    """Films to unit vectors.

    Args:
        backbone: an `ImageTower` (kind `frames`), or a transformers video model.
        preprocessing: which frames, and what happens to each.
        kind: `frames` mean of the frames' vectors; `videomae` mean of the patch states; `xclip` video features.
        projection: a further linear map, hidden → dim.
        normalize: whether vectors are scaled to unit L2 norm.
        aligned_with: hashes of contracts whose space these vectors were trained into.
    """

    def __init__(
        self,
        backbone: Any,
        preprocessing: VideoPreprocessing,
        *,
        kind: Kind = "frames",
        projection: nn.Linear | None = None,
        normalize: bool = True,
        aligned_with: tuple[str, ...] = (),
    ) -> None:
        super().__init__(backbone, projection=projection, normalize=normalize, aligned_with=aligned_with)
        self.preprocessing = preprocessing
        self.kind: Kind = kind

    @classmethod
    def of_frames(cls, image: ImageTower, frames: int = FRAMES) -> VideoTower:
        """The frames of a film through an image tower; its vectors stay in the image tower's space."""
        preprocessing = VideoPreprocessing(frames, image.preprocessing)
        return cls(image, preprocessing, normalize=image.normalize, aligned_with=image.aligned_with)

    def example(self) -> tuple[Tensor, ...]:
        """`pixel_values` of one film."""
        size = self.preprocessing.picture.image_size
        return (torch.zeros(1, self.preprocessing.frames, 3, size, size),)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """float32 [n, frames, 3, H, W] → float32 [n, dim]."""
        return self.finish(self.pool(pixel_values))

    def pool(self, pixel_values: Tensor) -> Tensor:
        """Pooled states [n, hidden], before projection and normalisation."""
        pooled: Tensor
        if self.kind == "frames":
            rows, frames = pixel_values.shape[:2]
            pooled = self.backbone(pixel_values.flatten(0, 1)).view(rows, frames, -1).mean(dim=1)
        elif self.kind == "xclip":
            pooled = self.backbone.get_video_features(pixel_values).pooler_output
        else:
            pooled = self.backbone(pixel_values=pixel_values).last_hidden_state.mean(dim=1)
        return pooled

    @classmethod
    def from_folder(cls, path: str | Path) -> VideoTower:
        """Load a VideoMAE or X-CLIP folder, any image folder (its frames are averaged), or a tower folder.

        Raises:
            EncoderLoadError: pickled or incomplete weights, or an architecture that takes no films.
        """
        import transformers

        folder = Path(path)
        config = read_config(folder)
        require_stated_weights(folder)
        record = read_record(folder)
        aligned = tuple(str(value) for value in record.get("aligned_with", ()))
        head: dict[str, Any] = {
            "projection": load_projection(folder),
            "normalize": bool(record.get("normalize", True)),
            "aligned_with": aligned,
        }
        if config.model_type == "videomae":
            backbone = load_backbone(transformers.VideoMAEModel, folder)
            preprocessing = _preprocessing(folder, config.num_frames, config.image_size)
            return cls(backbone, preprocessing, kind="videomae", **head).eval()
        if config.model_type == "xclip":
            vision = config.vision_config
            backbone = load_backbone(transformers.XCLIPModel, folder)
            preprocessing = _preprocessing(folder, vision.num_frames, vision.image_size)
            head["aligned_with"] = aligned or (shared_space(folder),)
            return cls(backbone, preprocessing, kind="xclip", **head).eval()
        return cls.of_frames(ImageTower.from_folder(folder), _frames(folder, record)).eval()

    def save(self, path: str | Path, *, dtype: Precision = "float32", card: str | None = None) -> Path:
        """Write a tower folder, replacing one that is there, all of it or nothing.

        Args:
            dtype: of the weights on disk; they are upcast to float32 when loaded.
            card: text of README.md.
        """
        with new_folder(Path(path)) as folder:
            if self.kind == "frames":
                self.backbone.save(folder, dtype=dtype, card=card)
                own = {"modality": "video", "frames": self.preprocessing.frames}
                write_record(folder, {**read_record(folder), **own, "aligned_with": list(self.aligned_with)})
                return Path(path)
            save_backbone(self.backbone, folder, dtype)
            save_projection(self.projection, folder, dtype)
            write_json(folder / "preprocessor_config.json", self.preprocessing.picture.to_processor())
            record = {"modality": "video", "normalize": self.normalize, "aligned_with": list(self.aligned_with)}
            write_record(folder, {**record, WEIGHTS_HASH: weights_hash(folder)}, card)
        return Path(path)

    def describe(self) -> Description:
        """What its contract needs."""
        pooling = {"frames": f"mean of {self.preprocessing.frames} frames", "videomae": "mean", "xclip": "projection"}
        return Description(
            modality="video",
            dimension=self.dimension,
            pooling=pooling[self.kind],
            normalized=self.normalize,
            max_input=self.preprocessing.frames,
            preprocessing=self.preprocessing.to_dict(),
            aligned_with=self.aligned_with,
            spans="image" if self.kind == "frames" else None,
        )

    def served(self) -> Served:
        """The module that is turned into a graph: it takes frames as they are decoded, uint8 [n, frames, H, W, 3]."""
        return Served(ServedVideoTower(self).eval(), self._sample, {"frames": {0: "films"}})

    def _sample(self, rows: int, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        size = self.preprocessing.picture.image_size
        shape = (rows, self.preprocessing.frames, size, size, 3)
        return {"frames": torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)}


class ServedVideoTower(nn.Module):
    """A video tower behind its scaling and normalisation."""

    factor: Tensor
    offset: Tensor

    def __init__(self, tower: VideoTower) -> None:
        super().__init__()
        self.tower = tower
        picture = tower.preprocessing.picture
        mean, std = torch.tensor(picture.mean), torch.tensor(picture.std)
        self.register_buffer("factor", (picture.scale / std).view(1, 1, 3, 1, 1))
        self.register_buffer("offset", (-mean / std).view(1, 1, 3, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 [n, frames, H, W, 3] → float32 [n, dim]."""
        values = frames.permute(0, 1, 4, 2, 3).float()
        vectors: Tensor = self.tower(values * self.factor + self.offset)
        return vectors


def _preprocessing(folder: Path, frames: int, size: Any) -> VideoPreprocessing:
    side = size[0] if isinstance(size, (list, tuple)) else size
    return VideoPreprocessing(int(frames), ImagePreprocessing.from_folder(folder, int(side)))


def _frames(folder: Path, record: dict[str, Any]) -> int:
    frames = record.get("frames", FRAMES)
    if not isinstance(frames, int):
        raise EncoderLoadError(f"{folder / 'tower.json'}: frames is not a number")
    return frames
