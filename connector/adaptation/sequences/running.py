"""What the jobs that end in a sequence encoder share: to train, to measure, and to write the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connector.adaptation.bar import TrainingBar
from connector.adaptation.processes import Processes
from connector.adaptation.sequences.data import Histories, padded
from connector.adaptation.sequences.report import SequenceReport, counts, write_card
from connector.adaptation.sequences.spec import HistorySpec
from connector.adaptation.trainer import Plan, Trainer
from connector.evaluation.ranking import Scorer, evaluate
from connector.evaluation.splits import Split

if TYPE_CHECKING:
    from connector.evaluation.interactions import History
    from encoders.towers.content import ContentTower
    from encoders.towers.sequence import SequenceTower

TOWER = "tower"
ITEMS = "items.parquet"
METRIC = "ndcg@20"
HIGHEST_SCALE = 100.0


class SequenceJob(Protocol):
    """Batches, loss and evaluation of one run.

    Attributes:
        tower: the encoder that is written.
        module: everything that is learned.
    """

    tower: Any
    device: torch.device

    @property
    def module(self) -> nn.Module: ...

    @property
    def steps(self) -> int | None: ...

    def loss_of(self, batch: int) -> Tensor: ...

    def evaluate(self) -> dict[str, float]: ...

    def scorer(self, split: Split) -> Scorer: ...


def run(
    job: SequenceJob,
    spec: HistorySpec,
    histories: Histories,
    *,
    title: str,
    what: str,
    use: str,
    resume: bool,
    until: int | None,
    show: bool,
) -> SequenceReport:
    """Train a job to its end and write `spec.out/tower` with its card, and the items' vectors, `items.parquet`.

    Args:
        title, what, use: of the card.
        resume, until, show: as the jobs' own functions take them.
    """
    plan, out = Plan.of(spec, METRIC, job.steps), Path(spec.out)
    with TrainingBar(spec.job, plan.steps, show=show) as bar:
        progress = Trainer(job.module, job.loss_of, job.evaluate, plan, out, bar.notice).run(resume=resume, until=until)
    metrics = job.evaluate()
    if histories.test is not None:
        figures = evaluate(job.scorer(histories.test), histories.test).means()
        metrics |= {f"test/{name}": value for name, value in figures.items()}
    report = SequenceReport(
        folder=out / TOWER,
        **counts(histories),
        skipped=dict(histories.skipped),
        steps=progress.step,
        best_step=progress.best_step,
        loss=progress.loss,
        metrics=metrics,
        seconds=progress.seconds,
        steps_per_second=progress.step / max(progress.seconds, 1e-9),
    )
    if Processes(job.device).main:
        tower = job.tower.cpu().eval()
        tower.save(report.folder, dtype=spec.weights, card=write_card(spec, report, title, what, use))
        with torch.no_grad():
            write_item_vectors(out / ITEMS, tower.items, tower.item_vectors().numpy())
    return report


def user_scorer(tower: SequenceTower | ContentTower, histories: list[History]) -> Scorer:
    """Inner products of user and item vectors, as a search in the items' collection computes them."""
    device = next(tower.parameters()).device

    @torch.no_grad()
    def score(users: NDArray[np.int64]) -> NDArray[np.float32]:
        tower.eval()
        rows = padded([histories[user] for user in users], tower.longest)
        scores = tower(torch.from_numpy(rows).to(device)) @ tower.item_vectors().T
        return np.asarray(scores.float().cpu().numpy(), np.float32)

    return score


def write_item_vectors(path: Path, items: tuple[str, ...], vectors: NDArray[np.float32]) -> None:
    """Write `item_id` and `vector` [dim] of every item as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from encoders.files import write_bytes

    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    table = pa.table({"item_id": items, "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_bytes(path, sink.getvalue().to_pybytes())
