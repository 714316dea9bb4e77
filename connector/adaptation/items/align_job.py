"""The job that draws content vectors towards collaborative ones, so that cold items find their place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connector.adaptation.items.factors import factors_of
from connector.adaptation.items.spec import CollaborativeAlignmentSpec
from connector.adaptation.losses import Scale, info_nce, same_meaning
from connector.adaptation.metrics import retrieval_recall
from connector.adaptation.processes import Processes, choose_device
from connector.adaptation.report import TrainingReport, figure_rows, outcome
from connector.adaptation.sampler import MixedBatches, split
from connector.adaptation.semantic.content import Content, all_alike, made_by, read_content, require_distinct
from connector.adaptation.sequences.running import ITEMS, TOWER, write_item_vectors
from connector.adaptation.training import train
from connector.errors import TrainingError
from connector.evaluation.interactions import read_interactions
from encoders.towers.projected import ProjectedTower, Projection

METRIC = "recall@10"


@dataclass(frozen=True, kw_only=True)
class AlignmentReport(TrainingReport):
    """What a job did.

    Attributes:
        folder: the tower; the vectors of all items with content lie beside it in `items.parquet`.
        items: that have content; all of them got a vector.
        learned, held_out: items with collaborative vectors, trained and validated on.
        metrics: of the items held out: `recall@k`, share whose own collaborative vector is among the k nearest to
            their projected content, out of those of all items; `cosine` between the two.
    """

    items: int
    learned: int
    held_out: int

    @property
    def learned_from(self) -> str:
        return f"{self.learned} of {self.items} items learned from"


def pretrain_alignment(
    spec: CollaborativeAlignmentSpec, *, resume: bool = False, until: int | None = None, show: bool = True
) -> AlignmentReport:
    """Run the job; write `spec.out/tower`, which `encoders.load` takes, and the items' vectors, `items.parquet`.

    Args:
        resume: go on from the newest checkpoint in `spec.out`; on the CPU the result is that of an undisturbed run.
        until: leave off after this step, as if interrupted.
        show: draw a progress bar where a person is watching.

    Raises:
        CatalogueError: content, vectors or interactions that cannot be read.
        TrainingError: too few items with both kinds of vectors, vectors of either kind that are all alike, or a loss
            that is not finite.
        ConfigurationError: `resume` finds a checkpoint of another spec.
    """
    found = read_content(spec.content, show=show)
    # Numbered as the jobs over histories number them.
    order = np.argsort(np.asarray(found.ids))
    content = Content([found.ids[row] for row in order], found.vectors[order], found.encoder, found.skipped)
    known, wanted = collaborative(spec, content.ids, show=show)
    torch.manual_seed(spec.seed)
    job = _Job(spec, content, known, wanted)
    out, progress = Path(spec.out), train(job, spec, METRIC, resume=resume, until=until, show=show)
    report = AlignmentReport(
        folder=out / TOWER,
        items=len(content.ids),
        learned=len(job.learned),
        held_out=len(job.held),
        skipped=dict(content.skipped),
        metrics=job.evaluate(),
        **outcome(progress),
    )
    if Processes(job.device).main:
        tower = job.tower.cpu().eval()
        tower.save(report.folder, dtype=spec.weights, card=_card(spec, report, made_by(content.encoder)))
        with torch.no_grad():
            write_item_vectors(out / ITEMS, tower.items, tower.item_vectors().numpy())
    return report


def collaborative(
    spec: CollaborativeAlignmentSpec, ids: list[str], *, show: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows of `ids` that have a collaborative vector, int64 [n], and those at unit length, float32 [n, dim].

    Raises:
        CatalogueError: a source that cannot be read.
        TrainingError: fewer users or items than factors.
    """
    if spec.vectors is not None:
        given = read_content(spec.vectors, show=show)
        places = {item: row for row, item in enumerate(given.ids)}
        known = np.asarray([row for row, item in enumerate(ids) if item in places], np.int64)
        return known, given.vectors[[places[ids[row]] for row in known]]
    if spec.interactions is None:
        raise TrainingError("collaborative_alignment: neither vectors nor interactions are given")
    found = read_interactions(spec.interactions, ids)
    factors = factors_of(found.histories, len(found.items), spec.factors)
    times = np.bincount(np.concatenate(found.histories), minlength=len(found.items))
    norms = np.linalg.norm(factors, axis=1)
    numbers = {item: number for number, item in enumerate(found.items)}
    sound = (times >= spec.least) & (norms > 0)
    known = np.asarray([row for row, item in enumerate(ids) if sound[numbers[item]]], np.int64)
    chosen = np.asarray([numbers[ids[row]] for row in known], np.int64)
    return known, np.asarray(factors[chosen] / norms[chosen, None], np.float32)


def _require_distinct(
    spec: CollaborativeAlignmentSpec, content: NDArray[np.float32], wanted: NDArray[np.float32]
) -> None:
    """Refuse content, or collaborative vectors, of the items to learn from that are all the same."""
    require_distinct(spec.content, content)
    if spec.vectors is not None:
        require_distinct(spec.vectors, wanted)
    elif spec.interactions is not None and all_alike(wanted):
        raise TrainingError(
            f"{spec.interactions.path}: the singular vectors of all {len(wanted)} items (column "
            f"{spec.interactions.item!r}) are alike; raise factors ({spec.factors}), or give users who differ"
        )


class _Job:
    """Batches, loss and evaluation of one run."""

    def __init__(
        self,
        spec: CollaborativeAlignmentSpec,
        content: Content,
        known: NDArray[np.int64],
        wanted: NDArray[np.float32],
    ) -> None:
        self.learned, self.held = split(len(known), spec.validation, spec.seed)
        if len(self.learned) < 2 or not len(self.held):
            raise TrainingError(
                f"{spec.content.path}: {len(known)} items have both content and a collaborative vector, too few to "
                "learn from; check that both files name items alike, or lower least"
            )
        _require_distinct(spec, content.vectors[known], wanted)
        self._spec, self.device = spec, choose_device(spec.device)
        projection = Projection(spec.hidden, wanted.shape[1], spec.dropout, spec.longest)
        self.tower = ProjectedTower(content.ids, content.vectors, projection)
        self.tower.content_encoder = content.encoder
        self._scale = Scale(spec.temperature)
        self.module = nn.ModuleDict({"tower": self.tower, "head": self._scale})
        self.module.to(self.device)
        self._known = torch.from_numpy(known + 1).to(self.device)
        self._wanted = torch.from_numpy(wanted).to(self.device)
        self._batches = MixedBatches([self.learned], [None], spec.batch_size, spec.seed)

    @property
    def lap(self) -> float:
        """Batches after which every row has come once."""
        return self._batches.lap

    def loss_of(self, batch: int) -> Tensor:
        """InfoNCE of batch number `batch`, both ways; an item may come twice where one lap ends and the next begins."""
        rows = torch.from_numpy(self._batches.rows_of(batch)).to(self.device)
        projected = self.tower.item_vectors(self._known[rows])
        return info_nce(projected, self._wanted[rows], self._scale(), same_meaning(rows))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Collaborative vectors found from the content of items held out."""
        self.module.eval()
        rows = torch.from_numpy(self.held).to(self.device)
        projected = self.tower.item_vectors(self._known[rows])
        everything = torch.arange(len(self._wanted), device=self.device)
        figures = {f"recall@{k}": retrieval_recall(projected, self._wanted, rows, everything, k) for k in (1, 10, 100)}
        return {**figures, "cosine": float((projected * self._wanted[rows]).sum(dim=-1).mean())}


def _card(spec: CollaborativeAlignmentSpec, report: AlignmentReport, content: str) -> str:
    if spec.vectors is not None:
        towards = f"the vectors in `{Path(spec.vectors.path).name}`"
    else:
        name = Path(spec.interactions.path).name if spec.interactions else ""
        towards = f"{spec.factors} singular vectors of the interactions in `{name}`"
    return f"""# Content in the collaborative space

A projection of content vectors towards {towards}, by symmetric InfoNCE. Load it with `encoders.load(folder)`: items
on the document side, histories (their mean) on the query side, each by id or by content vector.

## Trained on

`{Path(spec.content.path).name}`: {report.learned} of {report.items} items, {report.held_out} more held out. Content \
vectors: {content}. {report.steps} steps of {spec.batch_size}, AdamW at {spec.learning_rate:g}, seed {spec.seed}; the \
state of step {report.best_step} was kept.{report.resumed}

## How well it does

Of the items held out, on which the kept state was chosen.

| figure | value |
|---|---|
{figure_rows(report.metrics)}
"""
