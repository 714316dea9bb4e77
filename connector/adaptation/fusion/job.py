"""The fusion job: the head of a fused encoder, by contrast of two views of each item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connector.adaptation.bar import TrainingBar
from connector.adaptation.fusion.evaluation import Held, baselines, controls, part_to_item, subset_of
from connector.adaptation.fusion.members import MemberVectors, member_vectors
from connector.adaptation.fusion.report import FusionReport, write_card
from connector.adaptation.fusion.spec import FusionSpec
from connector.adaptation.fusion.views import two_views
from connector.adaptation.losses import Scale, info_nce, same_meaning
from connector.adaptation.media_rows import USABLE
from connector.adaptation.metrics import retrieval_recall
from connector.adaptation.processes import Processes, choose_device
from connector.adaptation.report import outcome
from connector.adaptation.sampler import MixedBatches, split
from connector.adaptation.training import train
from connector.errors import TrainingError
from encoders.towers.fused import FusedTower

TOWER = "tower"
METRIC = "recall@1"

Rows = NDArray[np.int64]


def pretrain_fusion(
    spec: FusionSpec, *, resume: bool = False, until: int | None = None, show: bool = True
) -> FusionReport:
    """Run the job and write `spec.out/tower`, a folder that `encoders.load` takes.

    Args:
        resume: go on from the newest checkpoint in `spec.out`; on the CPU the result is that of an undisturbed run.
        until: leave off after this step, as if interrupted.
        show: draw a progress bar where a person is watching.

    Raises:
        CatalogueError: a catalogue that cannot be read.
        EncoderLoadError: a member that cannot be loaded.
        TrainingError: too few items with several modalities, or a loss that is not finite.
        ConfigurationError: `resume` finds a checkpoint of another spec, or of other data.
    """
    out, device = Path(spec.out), choose_device(spec.device)
    processes = Processes(device)
    with TrainingBar("encoding", None, show=show) as bar:
        if processes.main:
            items = member_vectors(spec, out, bar.advance)
        processes.wait()
        if not processes.main:
            items = member_vectors(spec, out, exported=True)
    torch.manual_seed(spec.seed)
    job = _Job(spec, items, device)
    progress = train(job, spec, METRIC, resume=resume, until=until, show=show, inputs={USABLE: items.digest})
    with torch.no_grad():
        kept = job.keep_the_better(progress.best_step)
        metrics, compared = job.evaluate(), job.compare()
    report = FusionReport(
        folder=out / TOWER,
        items=len(job.learned),
        held_out=len(job.held_rows),
        skipped=dict(items.skipped),
        metrics=metrics,
        compared=compared,
        **{**outcome(progress), "best_step": kept},
    )
    if processes.main:
        job.tower.cpu().eval().save(report.folder, dtype=spec.weights, card=write_card(spec, report))
    return report


class _Job:
    """Batches, loss and evaluation of one run."""

    def __init__(self, spec: FusionSpec, items: MemberVectors, device: torch.device) -> None:
        self._spec, self.device = spec, device
        names = list(spec.members)
        anchor = None if spec.towards is None else items.contracts[names.index(spec.towards)]
        self.tower = FusedTower(
            items.contracts,
            head=spec.head,
            dimension=anchor.dimension if anchor else spec.dimension or max(c.dimension for c in items.contracts),
            hidden=spec.hidden,
            dropout=spec.dropout,
            aligned_with=() if anchor is None else (anchor.hash, *anchor.aligned_with),
            folders=items.folders,
        )
        self._scale = Scale(spec.temperature)
        self.module = nn.ModuleDict({"tower": self.tower, "scale": self._scale})
        self.module.to(device)
        several = np.flatnonzero(items.present.sum(axis=1) > 1)
        # The mean of members that share a space is hard to beat with few items.
        self._start = {name: value.detach().clone() for name, value in self.tower.state_dict().items()}
        self.learned, self.held_rows = _held_out(several, items.groups[several], spec)
        _require_contrast(items.groups[self.learned], items.texts[self.learned], spec)
        self._batches = MixedBatches([self.learned], [None], spec.batch_size, spec.seed)
        self._vectors = {name: torch.from_numpy(matrix) for name, matrix in items.vectors.items()}
        self._present = torch.from_numpy(items.present)
        self._groups, self._texts = torch.from_numpy(items.groups), torch.from_numpy(items.texts)
        groups = self._groups if spec.catalogue.group else _by_text(self._groups, self._texts)
        self._held = Held(
            subset_of(items.vectors, self.held_rows), self._present[self.held_rows], groups[self.held_rows]
        )

    @property
    def lap(self) -> float:
        """Batches after which every row has come once."""
        return self._batches.lap

    def loss_of(self, batch: int) -> Tensor:
        """Loss of batch number `batch`."""
        spec = self._spec
        rows = torch.from_numpy(self._batches.rows_of(batch))
        generator = torch.Generator().manual_seed(spec.seed * 1_000_003 + batch)
        first, second = (view.to(self.device) for view in two_views(self._present[rows], spec.keep, generator))
        vectors = [matrix[rows].to(self.device) for matrix in self._vectors.values()]
        texts = self._texts[rows]
        # Rows without a text share no text.
        texts = torch.where(texts < 0, -1 - torch.arange(len(rows)), texts)
        same = same_meaning(self._groups[rows], texts).to(self.device)
        scale = self._scale()
        part = self.tower(vectors, first)
        loss = info_nce(part, self.tower(vectors, second), scale, same)
        if spec.towards is None or not spec.anchor:
            return loss
        at = list(spec.members).index(spec.towards)
        there = self._present[rows, at].to(self.device)
        if not bool(there.any()):
            return loss
        return loss + spec.anchor * info_nce(part[there], vectors[at][there], scale, same[there][:, there])

    def evaluate(self) -> dict[str, float]:
        """recall@k of every part of an item, on the rows held out."""
        figures = part_to_item(self._held, self._embed)
        if self._spec.towards is not None:
            figures |= self._by_the_space(self._spec.towards)
        first = [value for name, value in figures.items() if name.endswith("recall@1")]
        return {METRIC: float(np.mean(first)), **figures}

    def keep_the_better(self, step: int) -> int:
        """Go back to the state before training if that of `step` is no better → the step whose state is kept."""
        trained = {name: value.detach().clone() for name, value in self.tower.state_dict().items()}
        figure = self.evaluate()[METRIC]
        self.tower.load_state_dict(self._start)
        if self.evaluate()[METRIC] >= figure:
            return 0
        self.tower.load_state_dict(trained)
        return step

    def compare(self) -> dict[str, dict[str, float]]:
        """Baselines and controls on the same rows."""
        return {**baselines(self._held), **controls(self._held, self._embed, self._spec.seed)}

    def _by_the_space(self, towards: str) -> dict[str, float]:
        """recall@k where a member's own vector asks, as a query by that encoder does."""
        held = self._held
        at = held.modalities.index(towards)
        rows = held.present[:, at]
        whole = self._embed(list(held.vectors.values()), held.present)
        asked, groups = held.vectors[towards][rows], held.groups[rows]
        return {
            f"{towards} encoder_to_whole/recall@{k}": retrieval_recall(asked, whole, groups, held.groups, k)
            for k in (1, 5, 10)
        }

    def _embed(self, vectors: Sequence[Tensor], present: Tensor) -> Tensor:
        self.module.eval()
        made: Tensor = self.tower([vector.to(self.device) for vector in vectors], present.to(self.device))
        return made.cpu()


def _held_out(rows: Rows, groups: Rows, spec: FusionSpec) -> tuple[Rows, Rows]:
    """Rows to learn from and rows to validate on; no group is in both.

    Raises:
        TrainingError: fewer than two groups.
    """
    names, numbers = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise TrainingError(f"{spec.catalogue.path}: all rows are of one group; nothing is left to validate on")
    held = split(len(names), spec.validation, spec.seed)[1]
    chosen = np.isin(numbers, held if len(held) else [0])
    return rows[~chosen], rows[chosen]


def _require_contrast(groups: Rows, texts: Rows, spec: FusionSpec) -> None:
    """Check that some of the rows learned from are negatives of each other; `texts` is -1 where there is none.

    Raises:
        TrainingError: all are of one group, or have the same text; says what to change.
    """
    path, kept = spec.catalogue.path, len(np.unique(groups))
    if kept < 2:
        what = f"groups ({', '.join(spec.catalogue.group)})" if spec.catalogue.group else "items"
        raise TrainingError(
            f"{path}: validation {spec.validation:g} leaves {kept} {what} to learn from, and at least 2 are needed; "
            "lower validation, or give more"
        )
    if texts.min() >= 0 and len(np.unique(texts)) < 2:
        columns = ", ".join(spec.members["text"].columns)
        raise TrainingError(
            f"{path}: all {len(texts)} items to learn from have the same text (column {columns}); there is nothing to "
            "tell apart"
        )


def _by_text(groups: Tensor, texts: Tensor) -> Tensor:
    """Groups of rows that have no group: those with the same text."""
    return torch.where(texts < 0, -1 - groups, texts)
