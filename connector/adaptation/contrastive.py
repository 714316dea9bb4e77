"""The contrastive job: pictures, sounds or films are drawn towards the vectors of their words, or of one another."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from connector.adaptation.report import TrainingReport, outcome
from connector.adaptation.spec import TEXT_SUFFIX, ContrastiveSpec, PretrainedTower, Refit, columns_of
from connector.errors import TrainingError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from connector.adaptation.mediums import Medium
    from connector.adaptation.pairs import PairSet
    from connector.adaptation.towers import AnyTower
    from connector.adaptation.words import Words

TOWER = "tower"
METRIC = "recall@1"
# Rows learned from that are evaluated on, where none are held out.
MOST_SEEN = 256


@dataclass(frozen=True, kw_only=True)
class PretrainReport(TrainingReport):
    """What a job did.

    Attributes:
        pairs, held_out: rows trained and validated on; with none held out, the figures are of rows learned from.
        text: folder of the text encoder that learned along; None where it was locked.
    """

    pairs: int
    held_out: int
    text: Path | None = None

    @property
    def encoders(self) -> dict[str, Path]:
        """The tower's folder, and that of the text encoder, whose name ends in `_text`."""
        return super().encoders if self.text is None else {TEXT_SUFFIX: self.text, **super().encoders}

    @property
    def learned_from(self) -> str:
        return f"{self.pairs} pairs" + ("" if self.held_out else ", none held out (figures of rows learned from)")


def pretrain_contrastive(
    spec: ContrastiveSpec, *, resume: bool = False, until: int | None = None, show: bool = True, card: str | None = None
) -> PretrainReport:
    """Run the job and write `spec.out/tower`, and `spec.out/text` with a free text tower; `encoders.load` takes both.

    Args:
        resume: go on from the newest checkpoint in `spec.out`; on the CPU the result is that of an undisturbed run.
        until: leave off after this step, as if interrupted.
        show: draw a progress bar where a person is watching.
        card: text of the tower's README.md; default: one written from the spec and the figures.

    Raises:
        TrainingError: no usable pairs, none that differ, or a loss that is not finite.
        ConfigurationError: `resume` finds a checkpoint of another spec, or `free_text` an exported encoder.
        EncoderLoadError: an encoder or tower that cannot be loaded.
    """
    import torch

    from connector.adaptation.bar import TrainingBar
    from connector.adaptation.locked_media import LockedMedia
    from connector.adaptation.media_rows import USABLE
    from connector.adaptation.mediums import medium_of
    from connector.adaptation.pairs import read_pairs
    from connector.adaptation.processes import Processes, choose_device
    from connector.adaptation.sampler import split, split_groups
    from connector.adaptation.towers import build_tower
    from connector.adaptation.training import train
    from connector.adaptation.words import TEXT, open_words

    out, device = Path(spec.out), choose_device(spec.device)
    with closing(open_words(spec)) as words:
        torch.manual_seed(spec.seed)
        tower = build_tower(spec.tower, words.dimension, words.space, spec.medium)
        medium = medium_of(spec, tower, device)
        with closing(medium), TrainingBar("reading pairs", None, show=show) as bar:
            others = words if isinstance(words, LockedMedia) else None
            pairs = read_pairs(
                spec.pairs, medium.decode, medium.shape, out / "cache", bar.advance, medium.dtype, others
            )
        words.take(pairs.others, device, show=show)
    if spec.hold_out == "groups":
        first = np.asarray([ids[0] for ids in pairs.other_ids])
        train_rows, held_rows = split_groups(pairs.groups, first, spec.validation, spec.seed)
    else:
        train_rows, held_rows = split(len(pairs), spec.validation, spec.seed)
    _require_contrast(spec, pairs, train_rows)
    job = _Job(spec, tower, medium, pairs, words, train_rows, held_rows, device)
    rates = {} if spec.free_text is None else {"words.": spec.free_text.rate}
    inputs = {USABLE: pairs.usable}
    progress = train(job, spec, METRIC, resume=resume, until=until, show=show, rates=rates, inputs=inputs)
    if spec.refit is not None:
        job.refit(spec.refit)
    with torch.no_grad():
        metrics = job.evaluate()
    report = PretrainReport(
        folder=out / TOWER,
        pairs=len(train_rows),
        held_out=len(held_rows),
        text=None if spec.free_text is None else out / TEXT,
        skipped=dict(pairs.skipped),
        metrics=metrics,
        **outcome(progress),
    )
    if Processes(device).main:
        _save(spec, report, tower, words, card)
    return report


def _require_contrast(spec: ContrastiveSpec, pairs: PairSet, rows: NDArray[np.int64]) -> None:
    """Check that some of the rows learned from are negatives of each other.

    Raises:
        TrainingError: too few rows, or all of one group or with the same words; names the columns.
    """
    if len(rows) < 2:
        raise TrainingError(f"{len(rows)} usable pairs are too few to learn from; at least 2 are needed")
    drawn = [
        name
        for source in spec.pairs
        for name in (
            [source.towards.column] if source.towards else [c for text in source.text for c in columns_of(text)]
        )
    ]
    grouped = [name for source in spec.pairs for name in source.group] or drawn
    others = np.concatenate([pairs.other_ids[row] for row in rows])
    files = ", ".join(source.path for source in spec.pairs)
    same = "have the same words" if spec.towards is None else f"have the same {spec.pairs[0].other}"
    for values, what, columns in ((others, same, drawn), (pairs.groups[rows], "are alike", grouped)):
        if len(np.unique(values)) < 2:
            raise TrainingError(
                f"{files}: all {len(rows)} pairs to learn from {what} (column {', '.join(dict.fromkeys(columns))}); "
                "there is nothing to tell apart"
            )


def _save(spec: ContrastiveSpec, report: PretrainReport, tower: AnyTower, words: Words, card: str | None) -> None:
    import torch

    from connector.adaptation.card import write_card, write_text_card
    from connector.adaptation.words import FreeWords

    if isinstance(words, FreeWords) and report.text is not None:
        # Before the other tower, whose space is named after it.
        tower.aligned_with = words.save(report.text, spec.weights, write_text_card(spec, report))
    kept: Any = tower
    kept.to("cpu", memory_format=torch.contiguous_format).eval().save(
        report.folder, dtype=spec.weights, card=card or write_card(spec, report)
    )


class _Job:
    """Batches, loss and evaluation of one run."""

    def __init__(
        self,
        spec: ContrastiveSpec,
        tower: AnyTower,
        medium: Medium,
        pairs: PairSet,
        words: Words,
        train_rows: NDArray[np.int64],
        held_rows: NDArray[np.int64],
        device: torch.device,
    ) -> None:
        import torch
        from torch import nn

        from connector.adaptation.freezing import still_parts
        from connector.adaptation.losses import Scale
        from connector.adaptation.sampler import MixedBatches

        kept = isinstance(spec.tower, PretrainedTower) and spec.tower.keep_statistics
        self._still = still_parts(tower, keep_statistics=kept)
        self._spec, self._tower, self._medium, self._pairs, self.device = spec, tower, medium, pairs, device
        self._words = words
        self._held = held_rows if len(held_rows) else train_rows[:MOST_SEEN]
        weights = [source.weight for source in spec.pairs]
        training = [np.intersect1d(rows, train_rows, assume_unique=True) for rows in pairs.sources]
        self._batches = MixedBatches(training, weights, spec.batch_size, spec.seed)
        self._scale = Scale(spec.temperature)
        self.module: nn.Module = nn.ModuleDict({"tower": tower, "head": self._scale})
        if words.tower is not None:
            self.module["words"] = words.tower
        module: Any = self.module.to(device)
        if all(parameter.dim() < 5 for parameter in module.parameters()):
            # Convolutions on the CPU are a third faster with channels last.
            module.to(memory_format=torch.channels_last)

    @property
    def lap(self) -> float:
        """Batches after which every row has come once."""
        return self._batches.lap

    def loss_of(self, step: int) -> Tensor:
        import torch

        from connector.adaptation.losses import info_nce, same_meaning

        for part in self._still:
            part.eval()
        rows = self._batches.rows_of(step)
        generator = torch.Generator().manual_seed(self._spec.seed * 1_000_003 + step)
        draws = torch.rand(len(rows), generator=generator).numpy()
        texts = np.asarray(
            [(ids := self._pairs.other_ids[row])[int(draw * len(ids))] for row, draw in zip(rows, draws, strict=True)]
        )
        images = self._tower(*self._medium.inputs(self._pairs.pictures.take(rows), generator))
        same = same_meaning(torch.from_numpy(texts), torch.from_numpy(self._pairs.groups[rows])).to(self.device)
        return info_nce(images, self._words.vectors(torch.from_numpy(texts)), self._scale(), same)

    def refit(self, how: Refit) -> None:
        """Fit the last layer to the first words of each row."""
        from connector.adaptation.refit import refit_projection

        tower: Any = self._tower
        batches = (self._batches.rows_of(step) for step in range(math.ceil(how.rows / self._batches.batch_size)))
        refit_projection(tower, ((self._inputs(rows), self._first_words(rows)) for rows in batches), how.strength)

    def _inputs(self, rows: NDArray[np.int64]) -> Tensor:
        return self._medium.inputs(self._pairs.pictures.take(rows), None)[0]

    def _first_words(self, rows: NDArray[np.int64]) -> Tensor:
        import torch

        with torch.no_grad():
            return self._words.vectors(torch.tensor([int(self._pairs.other_ids[row][0]) for row in rows]))

    def evaluate(self) -> dict[str, float]:
        import torch

        from connector.adaptation.metrics import retrieval_recall

        images = self._encode(self._held)
        first = np.asarray([self._pairs.other_ids[row][0] for row in self._held])
        # As for the loss, those mean the same that are of one group or have the same words.
        groups = torch.from_numpy(np.stack([self._pairs.groups[self._held], first], axis=1))
        _, distinct = np.unique(first, return_index=True)
        words, word_groups = (
            self._words.vectors(torch.from_numpy(first[distinct])).cpu(),
            groups[torch.from_numpy(distinct)],
        )
        figures: dict[str, float] = {}
        this, other = self._medium.name, self._spec.towards or "text"
        forth, back = f"{this}_to_{other}", f"{other}_to_{this}"
        for k in (1, 5, 10):
            figures[f"{forth}/recall@{k}"] = retrieval_recall(images, words, groups, word_groups, k)
            figures[f"{back}/recall@{k}"] = retrieval_recall(words, images, word_groups, groups, k)
        return {METRIC: (figures[f"{forth}/recall@1"] + figures[f"{back}/recall@1"]) / 2, **figures}

    def _encode(self, rows: NDArray[np.int64]) -> Tensor:
        import torch

        self.module.eval()
        # Of films, as many as have so many frames.
        some = max(1, 128 // self._medium.shape[0]) if self._medium.name == "video" else 128
        made: list[Tensor] = []
        for start in range(0, len(rows), some):
            part = self._pairs.pictures.take(rows[start : start + some])
            groups = self._medium.together(part)
            vectors = torch.cat([self._tower(*self._medium.inputs(part[group], None)).cpu() for group in groups])
            made.append(vectors[torch.from_numpy(np.argsort(np.concatenate(groups)))])
        return torch.cat(made)
