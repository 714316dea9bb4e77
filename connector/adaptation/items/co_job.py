"""The job over pairs from co-interaction: items that go together, or a past and its next item."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connector.adaptation.items.pairs import CoInteractions
from connector.adaptation.items.spec import CoInteractionSpec
from connector.adaptation.losses import Scale, already_chosen, info_nce, sharing
from connector.adaptation.processes import choose_device
from connector.adaptation.semantic.content import made_by, read_content, require_distinct
from connector.adaptation.sequences.data import Histories, histories_of
from connector.adaptation.sequences.report import SequenceReport
from connector.adaptation.sequences.running import run, user_scorer
from connector.evaluation.ranking import Scorer, evaluate
from connector.evaluation.splits import Split
from encoders.towers.projected import ProjectedTower, Projection

TITLE = "Items that go together"
WHAT = {
    "item_item": "A projection of content vectors under which items that one user chose close together are near.",
    "user_item": "A projection of content vectors under which the mean of a history is near the item that comes next.",
}
USE = (
    "Load it with `encoders.load(folder)`: items on the document side, histories (their mean) on the query side, each "
    "by id or by content vector."
)


def pretrain_co_interaction(
    spec: CoInteractionSpec, *, resume: bool = False, until: int | None = None, show: bool = True
) -> SequenceReport:
    """Run the job; write `spec.out/tower`, which `encoders.load` takes, and the items' vectors, `items.parquet`.

    Args:
        resume: go on from the newest checkpoint in `spec.out`; on the CPU the result is that of an undisturbed run.
        until: leave off after this step, as if interrupted.
        show: draw a progress bar where a person is watching.

    Raises:
        CatalogueError: interactions or content that cannot be read.
        TrainingError: histories too few or too short, content that is all alike, or a loss that is not finite.
        ConfigurationError: `resume` finds a checkpoint of another spec.
    """
    content = read_content(spec.content, show=show)
    require_distinct(spec.content, content.vectors)
    histories = histories_of(spec, content.ids)
    histories.skipped.update(content.skipped)
    rows = {item: row for row, item in enumerate(content.ids)}
    torch.manual_seed(spec.seed)
    job = _Job(spec, histories, content.vectors[[rows[item] for item in histories.items]])
    job.tower.content_encoder = content.encoder
    use = f"{USE} Content vectors: {made_by(content.encoder)}."
    return run(job, spec, histories, title=TITLE, what=WHAT[spec.pairs], use=use, resume=resume, until=until, show=show)


class _Job:
    """Batches, loss and evaluation of one run."""

    def __init__(self, spec: CoInteractionSpec, histories: Histories, content: NDArray[np.float32]) -> None:
        self._spec, self._histories = spec, histories
        self.device = choose_device(spec.device)
        projection = Projection(spec.hidden, spec.dimension, spec.dropout, spec.longest)
        self.tower = ProjectedTower(histories.items, content, projection)
        self._scale = Scale(spec.temperature)
        self.module = nn.ModuleDict({"tower": self.tower, "head": self._scale})
        self.module.to(self.device)
        self._pairs = CoInteractions(histories.learned, spec.window, spec.longest, spec.batch_size, spec.seed)

    @property
    def lap(self) -> float:
        """Batches after which every row has come once."""
        return self._pairs.lap

    def loss_of(self, batch: int) -> Tensor:
        """InfoNCE of batch number `batch`; no item is a negative of itself, or of a past that holds it."""
        scale = self._scale()
        if self._spec.pairs == "item_item":
            first, second = (torch.from_numpy(part).to(self.device) for part in self._pairs.item_item(batch))
            left, same = self.tower.item_vectors(first), sharing(first, second)
        else:
            pasts, second = (torch.from_numpy(part).to(self.device) for part in self._pairs.user_item(batch))
            left, same = self.tower(pasts), already_chosen(pasts, second)
        return info_nce(left, self.tower.item_vectors(second), scale, same)

    def evaluate(self) -> dict[str, float]:
        """Full ranking of the validation part, from the mean of each history."""
        return evaluate(self.scorer(self._histories.validation), self._histories.validation).means()

    def scorer(self, split: Split) -> Scorer:
        """Scores from the training part of a split."""
        return user_scorer(self.tower, split.train)
