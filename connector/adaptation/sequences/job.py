"""The jobs whose result is a sequence encoder: next item (SASRec) and masked items (BERT4Rec)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from connector.adaptation.losses import Scale
from connector.adaptation.processes import choose_device
from connector.adaptation.sequences.data import Histories, Windows, read_histories
from connector.adaptation.sequences.losses import masked_item_loss, next_item_loss
from connector.adaptation.sequences.report import SequenceReport
from connector.adaptation.sequences.running import run, user_scorer
from connector.adaptation.sequences.spec import MaskedItemSpec, NextItemSpec
from connector.evaluation.ranking import Scorer, evaluate
from connector.evaluation.splits import Split
from encoders.towers.history import Shape
from encoders.towers.sequence import SequenceTower

TITLES = {
    "next_item": ("Next item", "A causal transformer over histories (SASRec), trained to name each step's next item."),
    "masked_item": ("Masked items", "A transformer over histories (BERT4Rec), trained to name items that were masked."),
}
USE = "Load it with `encoders.load(folder)`: histories on the query side, item ids on the document side, one space."


def pretrain_sequence(
    spec: NextItemSpec | MaskedItemSpec, *, resume: bool = False, until: int | None = None, show: bool = True
) -> SequenceReport:
    """Run the job; write `spec.out/tower`, which `encoders.load` takes, and the items' vectors, `items.parquet`.

    Args:
        resume: go on from the newest checkpoint in `spec.out`; on the CPU the result is that of an undisturbed run.
        until: leave off after this step, as if interrupted.
        show: draw a progress bar where a person is watching.

    Raises:
        CatalogueError: interactions or catalogue that cannot be read.
        TrainingError: histories too few or too short, or a loss that is not finite.
        ConfigurationError: `resume` finds a checkpoint of another spec.
    """
    histories = read_histories(spec)
    torch.manual_seed(spec.seed)
    job = _Job(spec, histories)
    title, what = TITLES[spec.job]
    return run(job, spec, histories, title=title, what=what, use=USE, resume=resume, until=until, show=show)


class _Job:
    """Batches, loss and evaluation of one run."""

    def __init__(self, spec: NextItemSpec | MaskedItemSpec, histories: Histories) -> None:
        self._spec, self._histories = spec, histories
        self.device = choose_device(spec.device)
        causal = spec.job == "next_item"
        # The causal tower is shown one item more than it sees; the other needs room for a mask when it is served.
        longest = spec.longest + (0 if causal else 1)
        shape = Shape(spec.hidden, spec.layers, spec.heads, longest, spec.dropout, causal=causal, first_norm=causal)
        self.tower = SequenceTower(histories.items, shape, normalize=spec.normalize)
        self._windows = Windows(histories.learned, spec.longest + 1, spec.batch_size, spec.seed)
        self._scale = Scale(spec.temperature if spec.normalize else 1.0, learned=spec.normalize)
        self.module = nn.ModuleDict({"tower": self.tower, "head": self._scale})
        self.module.to(self.device)

    @property
    def lap(self) -> float:
        """Batches after which every row has come once."""
        return self._windows.lap

    def loss_of(self, batch: int) -> Tensor:
        """Loss of batch number `batch`."""
        spec = self._spec
        windows = torch.from_numpy(self._windows.batch(batch)).to(self.device)
        scale = self._scale()
        if isinstance(spec, NextItemSpec):
            return next_item_loss(self.tower, windows, scale)
        generator = torch.Generator().manual_seed(spec.seed * 1_000_003 + batch)
        return masked_item_loss(self.tower, windows, scale, masked=spec.masked, last=spec.last, generator=generator)

    def evaluate(self) -> dict[str, float]:
        """Full ranking of the validation part."""
        return evaluate(self.scorer(self._histories.validation), self._histories.validation).means()

    def scorer(self, split: Split) -> Scorer:
        """Scores from the training part of a split."""
        return user_scorer(self.tower, split.train)
