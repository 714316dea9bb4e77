"""What the jobs that end in a sequence encoder share: to train, to measure, and to write the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from connector.adaptation.processes import Processes
from connector.adaptation.report import outcome
from connector.adaptation.sequences.data import Histories, padded
from connector.adaptation.sequences.report import SequenceReport, counts, write_card
from connector.adaptation.sequences.spec import HistorySpec
from connector.adaptation.training import TrainingJob, train
from connector.evaluation.ranking import Scorer, evaluate
from connector.evaluation.splits import Split

if TYPE_CHECKING:
    from connector.adaptation.checkpoint import Progress
    from connector.evaluation.interactions import History
    from encoders.towers.content import ContentTower
    from encoders.towers.sequence import SequenceTower

TOWER = "tower"
ITEMS = "items.parquet"
METRIC = "ndcg@20"


class RankingJob(TrainingJob, Protocol):
    """A job that ranks the items for a user."""

    def scorer(self, split: Split) -> Scorer:
        """Scores of all items for the users of a split, by the training part of it."""


class SequenceJob(RankingJob, Protocol):
    """A job that ends in a sequence encoder.

    Attributes:
        tower: the encoder that is written.
    """

    tower: Any


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
    out, progress = Path(spec.out), train(job, spec, METRIC, resume=resume, until=until, show=show)
    report = report_of(job, histories, progress, out / TOWER)
    if Processes(job.device).main:
        tower = job.tower.cpu().eval()
        tower.save(report.folder, dtype=spec.weights, card=write_card(spec, report, title, what, use))
        with torch.no_grad():
            write_item_vectors(out / ITEMS, tower.items, tower.item_vectors().numpy())
    return report


def report_of(job: RankingJob, histories: Histories, progress: Progress, folder: Path) -> SequenceReport:
    """What a trained job did, its figures on the test part among them, where there is one."""
    metrics = job.evaluate()
    if histories.test is not None:
        figures = evaluate(job.scorer(histories.test), histories.test).means()
        metrics |= {f"test/{name}": value for name, value in figures.items()}
    return SequenceReport(
        folder=folder,
        **counts(histories),
        skipped=dict(histories.skipped),
        metrics=metrics,
        **outcome(progress),
    )


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
