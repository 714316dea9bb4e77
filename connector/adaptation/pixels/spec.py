"""What the jobs over pictures alone are told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from connector.adaptation.media_spec import MediaCatalogue
from connector.adaptation.run_spec import RunSpec
from connector.adaptation.spec import Augmentation, NewTower, PretrainedTower


class PictureSource(MediaCatalogue):
    """One catalogue of pictures.

    Attributes:
        image: column of pictures: encoded bytes, paths or URLs.
    """

    image: str = "image"


class ViewAugmentation(Augmentation):
    """Changes that make two views of one picture: stronger, and of its colours too.

    Views of one picture share its colours, by which alone a network could tell them from others (Chen et al., section
    3.2). Colours are changed half as strongly as in that paper (appendix A: strength 0.5), and there is no blur.
    """

    crop: float = Field(0.4, gt=0, le=1)
    brightness: float = Field(0.4, ge=0, lt=1)
    contrast: float = Field(0.4, ge=0, lt=1)
    saturation: float = Field(0.4, ge=0, le=1)
    hue: float = Field(36.0, ge=0, le=180)
    grey: float = Field(0.2, ge=0, le=1)


class PicturesSpec(RunSpec):
    """Base of the jobs over pictures alone.

    Attributes:
        pictures: the catalogues.
        augmentation: changes made to a picture before it is learned from.
        validation: share of pictures held out, at least two of them.
    """

    pictures: tuple[PictureSource, ...] = Field(min_length=1)
    augmentation: Augmentation = Augmentation(crop=0.5)
    validation: float = Field(0.05, gt=0, le=0.5)

    def located(self, base: Path) -> Any:
        """The same spec, its relative paths counted from `base`."""
        pictures = tuple(source.located(base) for source in self.pictures)
        return self.model_copy(update={"pictures": pictures, "out": str(base / self.out)})


class MaskedPatchesSpec(PicturesSpec):
    """Reconstructive: the patches of a picture that were left out, from the others (MAE: He et al., CVPR 2022).

    Attributes:
        image_size, patch: height and width of a picture and of a patch, pixels; the second divides the first.
        hidden, layers, heads: of the encoder, which is what is kept.
        decoder_hidden, decoder_layers: of the decoder, which is thrown away; it has as many heads.
        masked: share of patches left out.
    """

    job: Literal["masked_patches"]
    image_size: int = Field(96, ge=8, le=1024)
    patch: int = Field(12, ge=2, le=128)
    hidden: int = Field(192, ge=4, le=4096)
    layers: int = Field(6, ge=1, le=48)
    heads: int = Field(3, ge=1, le=64)
    decoder_hidden: int = Field(96, ge=4, le=4096)
    decoder_layers: int = Field(2, ge=1, le=48)
    masked: float = Field(0.75, gt=0, lt=1)

    @model_validator(mode="after")
    def _sizes(self) -> MaskedPatchesSpec:
        if self.image_size % self.patch:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch {self.patch}")
        for name in ("hidden", "decoder_hidden"):
            # Positions are sines and cosines over height and over width.
            if getattr(self, name) % self.heads or getattr(self, name) % 4:
                raise ValueError(f"{name} {getattr(self, name)} is not a multiple of heads {self.heads} and of 4")
        if not 1 <= int(self.patches * (1 - self.masked)) < self.patches:
            raise ValueError(f"masked {self.masked} of {self.patches} patches leaves none, or all of them")
        return self

    @property
    def patches(self) -> int:
        """Of a picture."""
        return (self.image_size // self.patch) ** 2


class ViewsSpec(PicturesSpec):
    """Contrastive: two changed views of one picture are told from those of others (SimCLR: Chen et al., ICML 2020).

    Attributes:
        tower: what learns; a folder or Hugging Face id to go on from, or a small network.
        dimension: length of its vectors; default: the tower's own, 128 where it starts from nothing. Another than its
            own gives a tower a new last layer.
        head: width of the network between the vectors and the loss, which is thrown away.
        temperature: of the softmax over unit vectors; it is learned from there.
    """

    job: Literal["views"]
    tower: Annotated[NewTower | PretrainedTower, Field(discriminator="kind")] = NewTower()
    augmentation: ViewAugmentation = ViewAugmentation()
    dimension: int | None = Field(None, ge=1, le=4096)
    head: int = Field(128, ge=1, le=4096)
    temperature: float = Field(0.2, ge=0.01, le=1)

    @model_validator(mode="after")
    def _of_pictures(self) -> ViewsSpec:
        if isinstance(self.tower, PretrainedTower):
            self.tower.refuse_sound_fields("picture")
        return self

    def located(self, base: Path) -> Any:
        """The same spec, its relative paths counted from `base`."""
        moved = super().located(base)
        if not isinstance(self.tower, PretrainedTower):
            return moved
        return moved.model_copy(update={"tower": self.tower.located(base)})
