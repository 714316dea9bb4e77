"""What the two jobs over pictures share: reading, batches, the trainer, and the tower folder at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connector.adaptation.bar import TrainingBar
from connector.adaptation.freezing import still_parts
from connector.adaptation.media_rows import USABLE
from connector.adaptation.mediums import PictureMedium
from connector.adaptation.pixels.reading import PictureReport, read_pictures, write_card
from connector.adaptation.pixels.spec import PicturesSpec
from connector.adaptation.processes import Processes, choose_device
from connector.adaptation.report import outcome
from connector.adaptation.sampler import MixedBatches, split
from connector.adaptation.spec import PretrainedTower
from connector.adaptation.training import train

if TYPE_CHECKING:
    from connector.adaptation.pictures import PictureFile
    from encoders.towers.image import ImageTower

TOWER = "tower"
MOST_HELD = 512


class PictureJob(ABC):
    """Batches of one run; a subclass adds the module, its loss and what is validated.

    Args:
        tower: to be kept.
        module: everything that learns.
        source: where the tower comes from, if it learned before.

    Attributes:
        metric: that decides which state is kept.
        tower: what is kept of the module.
        module: everything that learns.
    """

    metric: str
    title: str
    what: str

    def __init__(self, spec: Any, tower: ImageTower, module: nn.Module, source: PretrainedTower | None = None) -> None:
        self.spec, self.tower, self.module = spec, tower, module
        self.device = choose_device(spec.device)
        module.to(self.device)
        side = source.train_size if source else None
        self.medium = PictureMedium(tower.preprocessing, spec.augmentation, self.device, side)
        self._still = still_parts(tower, keep_statistics=source.keep_statistics) if source else []

    @abstractmethod
    def loss(self, rows: NDArray[Any], numbers: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        """Loss of a batch, uint8 [n, side, side, 3]; `numbers`, int64 [n], are equal where a picture comes twice."""

    @abstractmethod
    def figures(self, rows: NDArray[Any], generator: torch.Generator) -> dict[str, float]:
        """What the module does on pictures held out, uint8 [n, side, side, 3]."""

    def finish(self) -> None:  # noqa: B027 - most towers are part of their module
        """Bring the tower to the module's state."""

    def read(self, pictures: PictureFile) -> None:
        """Take the pictures to learn from."""
        spec: PicturesSpec = self.spec
        self.pictures = pictures
        self.learned, held = split(len(pictures), max(spec.validation, 2 / len(pictures)), spec.seed)
        self.held = held[:MOST_HELD]
        self._batches = MixedBatches([self.learned], [None], spec.batch_size, spec.seed)

    @property
    def lap(self) -> float:
        """Batches after which every row has come once."""
        return self._batches.lap

    def loss_of(self, batch: int) -> Tensor:
        """Loss of batch number `batch`."""
        for part in self._still:
            part.eval()
        generator = torch.Generator().manual_seed(self.spec.seed * 1_000_003 + batch)
        numbers = self._batches.rows_of(batch)
        return self.loss(self.pictures.take(numbers), numbers, generator)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Figures over the pictures held out; the same masks and views each time."""
        self.module.eval()
        parts = [self.held[start : start + 128] for start in range(0, len(self.held), 128)]
        found = [
            self.figures(self.pictures.take(part), torch.Generator().manual_seed(place))
            for place, part in enumerate(parts)
        ]
        weights = [len(part) for part in parts]
        return {name: float(np.average([figures[name] for figures in found], weights=weights)) for name in found[0]}


def run(job: PictureJob, *, resume: bool, until: int | None, show: bool) -> PictureReport:
    """Read, train, and write `out/tower`."""
    spec, out = job.spec, Path(job.spec.out)
    with closing(job.medium), TrainingBar("reading pictures", None, show=show) as bar:
        pictures, skipped, usable = read_pictures(spec, job.medium.decode, job.medium.shape, bar.advance)
    job.read(pictures)
    progress = train(job, spec, job.metric, resume=resume, until=until, show=show, inputs={USABLE: usable})
    report = PictureReport(
        folder=out / TOWER,
        pictures=len(job.learned),
        held_out=len(job.held),
        skipped=dict(skipped),
        metrics=job.evaluate(),
        **outcome(progress),
    )
    if Processes(job.device).main:
        job.finish()
        tower = job.tower.cpu().eval()
        tower.save(report.folder, dtype=spec.weights, card=write_card(spec, report, job.title, job.what))
    return report
