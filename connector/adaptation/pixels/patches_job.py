"""The masked-patches job: an autoencoder that sees a quarter of a picture; its encoder, a ViT, is kept."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from connector.adaptation.pixels.job import PictureJob, run
from connector.adaptation.pixels.reading import PictureReport
from connector.adaptation.pixels.spec import MaskedPatchesSpec
from connector.adaptation.towers import IMAGENET_MEAN, IMAGENET_STD
from encoders.media.preprocessing import BILINEAR, ImagePreprocessing
from encoders.towers.folder import quiet
from encoders.towers.image import ImageTower


def pretrain_masked_patches(
    spec: MaskedPatchesSpec, *, resume: bool = False, until: int | None = None, show: bool = True
) -> PictureReport:
    """Run the job and write `spec.out/tower`, a ViT folder that `encoders.load` and transformers take.

    Args:
        resume: go on from the newest checkpoint in `spec.out`; on the CPU the result is that of an undisturbed run.
        until: leave off after this step, as if interrupted.
        show: draw a progress bar where a person is watching.

    Raises:
        TrainingError: too few usable pictures, or a loss that is not finite.
        ConfigurationError: `resume` finds a checkpoint of another spec.
    """
    torch.manual_seed(spec.seed)
    return run(_Job(spec), resume=resume, until=until, show=show)


class _Job(PictureJob):
    """A masked autoencoder over normalised patches."""

    metric = "explained"
    title = "Masked patches"
    what = (
        "A ViT, trained to rebuild the patches of pictures that were left out (MAE: He et al., CVPR 2022). Vectors are "
        "means of its patches' states; they lie in no other encoder's space."
    )

    def __init__(self, spec: MaskedPatchesSpec) -> None:
        from transformers import ViTConfig, ViTMAEConfig, ViTMAEForPreTraining, ViTModel

        sizes = {
            "hidden_size": spec.hidden,
            "num_hidden_layers": spec.layers,
            "num_attention_heads": spec.heads,
            "intermediate_size": 4 * spec.hidden,
            "image_size": spec.image_size,
            "patch_size": spec.patch,
        }
        with quiet():
            whole: Any = ViTMAEForPreTraining(
                ViTMAEConfig(
                    **sizes,
                    decoder_hidden_size=spec.decoder_hidden,
                    decoder_num_hidden_layers=spec.decoder_layers,
                    decoder_num_attention_heads=spec.heads,
                    decoder_intermediate_size=4 * spec.decoder_hidden,
                    mask_ratio=spec.masked,
                    norm_pix_loss=True,
                )
            )
            encoder: Any = ViTModel(ViTConfig(**sizes), add_pooling_layer=False)
        preprocessing = ImagePreprocessing(
            image_size=spec.image_size, resample=BILINEAR, mean=IMAGENET_MEAN, std=IMAGENET_STD
        )
        super().__init__(spec, ImageTower(encoder, preprocessing, pooling="mean"), whole)
        self._whole = whole

    def loss(self, rows: NDArray[Any], numbers: NDArray[Any], generator: torch.Generator) -> Tensor:
        """Squared error over the patches left out, each scaled to mean 0 and variance 1."""
        noise = torch.rand(len(rows), self.spec.patches, generator=generator).to(self.device)
        loss: Tensor = self._whole(*self.medium.inputs(rows, generator), noise=noise).loss
        return loss

    def figures(self, rows: NDArray[Any], generator: torch.Generator) -> dict[str, float]:
        """Share of the scaled patches' variance that is rebuilt."""
        noise = torch.rand(len(rows), self.spec.patches, generator=generator).to(self.device)
        output = self._whole(*self.medium.inputs(rows, None), noise=noise)
        return {"explained": 1 - float(output.loss)}

    def finish(self) -> None:
        """The encoder's half, into the tower."""
        self.tower.backbone.load_state_dict(self._whole.vit.state_dict())
