"""The views job: two changed views of one picture are drawn together, and away from those of others."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from connector.adaptation.losses import Scale, info_nce, same_meaning
from connector.adaptation.metrics import retrieval_recall
from connector.adaptation.pixels.job import PictureJob, run
from connector.adaptation.pixels.reading import PictureReport
from connector.adaptation.pixels.spec import ViewsSpec
from connector.adaptation.spec import PretrainedTower
from connector.adaptation.towers import build_tower

NEW_DIMENSION = 128


def pretrain_views(
    spec: ViewsSpec, *, resume: bool = False, until: int | None = None, show: bool = True
) -> PictureReport:
    """Run the job and write `spec.out/tower`, a folder that `encoders.load` takes.

    Args:
        resume: go on from the newest checkpoint in `spec.out`; on the CPU the result is that of an undisturbed run.
        until: leave off after this step, as if interrupted.
        show: draw a progress bar where a person is watching.

    Raises:
        TrainingError: too few usable pictures, or a loss that is not finite.
        ConfigurationError: `resume` finds a checkpoint of another spec.
        EncoderLoadError: a tower that cannot be loaded.
    """
    torch.manual_seed(spec.seed)
    return run(_Job(spec), resume=resume, until=until, show=show)


class _Job(PictureJob):
    """A tower behind a small network, over two views of each picture."""

    metric = "recall@1"
    title = "Views of one picture"
    what = (
        "An image encoder, trained to tell two changed views of one picture from those of others (SimCLR: Chen et al., "
        "ICML 2020). Its vectors lie in no other encoder's space."
    )

    def __init__(self, spec: ViewsSpec) -> None:
        source = spec.tower if isinstance(spec.tower, PretrainedTower) else None
        tower: Any = build_tower(spec.tower, spec.dimension or (None if source else NEW_DIMENSION), ())
        head = nn.Sequential(nn.Linear(tower.dimension, spec.head), nn.ReLU(), nn.Linear(spec.head, spec.head))
        scale = Scale(spec.temperature)
        super().__init__(spec, tower, nn.ModuleDict({"tower": tower, "head": head, "scale": scale}), source)
        self._head, self._scale = head, scale

    def loss(self, rows: NDArray[Any], numbers: NDArray[Any], generator: torch.Generator) -> Tensor:
        """Symmetric InfoNCE between two views; views of one picture are no negatives of each other."""
        first, second = (
            functional.normalize(self._head(self.tower(*self.medium.inputs(rows, generator))), dim=-1) for _ in range(2)
        )
        same = same_meaning(torch.from_numpy(numbers)).to(self.device)
        return info_nce(first, second, self._scale(), same)

    def figures(self, rows: NDArray[Any], generator: torch.Generator) -> dict[str, float]:
        """Share of changed pictures whose nearest unchanged one is their own, by the tower's own vectors."""
        changed, plain = self.tower(*self.medium.inputs(rows, generator)), self.tower(*self.medium.inputs(rows, None))
        own = torch.arange(len(rows), device=changed.device)
        return {f"recall@{k}": retrieval_recall(changed, plain, own, own, k) for k in (1, 5)}
