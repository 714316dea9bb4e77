"""The job that learns to write the semantic id of the next item."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from connector.adaptation.processes import Processes, choose_device
from connector.adaptation.semantic.saving import save_generator
from connector.adaptation.semantic.spec import NextSemanticIdSpec
from connector.adaptation.sequences.data import Histories, Windows, histories_of, read_histories
from connector.adaptation.sequences.report import SequenceReport, write_card
from connector.adaptation.sequences.running import report_of
from connector.adaptation.training import train
from connector.errors import CatalogueError
from connector.evaluation.ranking import Scorer, evaluate
from connector.evaluation.splits import Split
from encoders.content_encoder import CONTENT_ENCODER
from encoders.semantic.generator import SemanticIdModel
from encoders.semantic.recommender import Recommender, next_items
from encoders.semantic.trie import IdTrie
from encoders.towers.history import Shape

MODEL = "model"
METRIC = "ndcg@20"
NOT_FOUND = -1e9
WITHOUT_ID = "item without a semantic id"
WHAT = "A causal transformer over histories that writes the semantic id of the next item, code by code."
USE = """Decoded by a beam search over the ids that exist; items that the search does not reach count as ranked last.
Load it with `connector.adaptation.load_generator(folder)`; `recommend` asks it."""


def pretrain_next_semantic_id(
    spec: NextSemanticIdSpec, *, resume: bool = False, until: int | None = None, show: bool = True
) -> SequenceReport:
    """Run the job and write `spec.out/model`.

    Args:
        resume: go on from the newest checkpoint in `spec.out`; on the CPU the result is that of an undisturbed run.
        until: leave off after this step, as if interrupted.
        show: draw a progress bar where a person is watching.

    Raises:
        CatalogueError: interactions or ids that cannot be read, or no item with an id.
        TrainingError: histories too few or too short, or a loss that is not finite.
        ConfigurationError: `resume` finds a checkpoint of another spec.
    """
    histories, codes = with_ids(spec)
    trie = IdTrie(codes)
    torch.manual_seed(spec.seed)
    job = _Job(spec, histories, trie)
    progress = train(job, spec, METRIC, resume=resume, until=until, show=show)
    report = report_of(job, histories, progress, Path(spec.out) / MODEL)
    if Processes(job.device).main:
        recommender = Recommender(job.module.cpu(), histories.items, spec.beams)
        card = write_card(spec, report, "Next semantic id", WHAT, USE)
        save_generator(recommender, report.folder, read_encoder(Path(spec.ids)), spec.weights, card)
    return report


def with_ids(spec: NextSemanticIdSpec) -> tuple[Histories, NDArray[np.int64]]:
    """Histories of the items that have a semantic id, and their codes, int64 [items, levels].

    Items without words have none. They are left out of histories and catalogue, and counted.

    Raises:
        CatalogueError: interactions or ids that cannot be read, or no item with an id.
        TrainingError: histories too few or too short.
    """
    codes, histories = read_ids(Path(spec.ids)), read_histories(spec)
    known = [item for item in histories.items if item in codes]
    if not known:
        raise CatalogueError(
            f"{spec.ids}: holds none of the {len(histories.items)} items ({histories.items[0]!r}, …); run the job "
            "semantic_ids on the same catalogue"
        )
    if lacking := len(histories.items) - len(known):
        histories = histories_of(spec, known)
        histories.skipped[WITHOUT_ID] = lacking
    return histories, np.stack([codes[item] for item in histories.items])


def read_ids(path: Path) -> dict[str, NDArray[np.int64]]:
    """Item id → its codes, int64 [levels].

    Raises:
        CatalogueError: not a file of semantic ids.
    """
    try:
        table = pq.read_table(path, columns=["item_id", "codes"])
        codes = np.stack(table["codes"].to_numpy()).astype(np.int64)
    except (OSError, pa.ArrowInvalid, ValueError, TypeError) as error:
        raise CatalogueError(f"{path}: is no file of semantic ids; run the job semantic_ids first") from error
    return dict(zip(table["item_id"].to_pylist(), codes, strict=True))


def read_encoder(path: Path) -> dict[str, Any] | None:
    """Contract of the encoder whose vectors the ids in a file were made of, as JSON holds it; None: not known."""
    told = (pq.read_schema(path).metadata or {}).get(CONTENT_ENCODER.encode(), b"null")
    found: dict[str, Any] | None = json.loads(told)
    return found


def id_scorer(module: SemanticIdModel, split: Split, beams: int) -> Scorer:
    """Log-probabilities of the ids that a search finds from the training part of a split.

    Args:
        beams: ids kept at each level of the search; those of the history, which a ranking leaves out, take no room.
    """

    def score(users: NDArray[np.int64]) -> NDArray[np.float32]:
        scores = np.full((len(users), split.items), NOT_FOUND, np.float32)
        found, chances = next_items(module, [split.train[user] for user in users], beams)
        for row, items, values in zip(scores, found, chances, strict=True):
            row[items[items >= 0]] = values[items >= 0]
        return scores

    return score


class _Job:
    """Batches, loss and evaluation of one run."""

    def __init__(self, spec: NextSemanticIdSpec, histories: Histories, trie: IdTrie) -> None:
        self._spec, self._histories = spec, histories
        self.device = choose_device(spec.device)
        shape = Shape(spec.hidden, spec.layers, spec.heads, spec.longest, spec.dropout)
        self.module = SemanticIdModel(trie, shape).to(self.device)
        self._windows = Windows(histories.learned, spec.longest + 1, spec.batch_size, spec.seed)

    @property
    def lap(self) -> float:
        """Batches after which every row has come once."""
        return self._windows.lap

    def loss_of(self, batch: int) -> Tensor:
        """Loss of batch number `batch`."""
        return self.module.loss(torch.from_numpy(self._windows.batch(batch)).to(self.device))

    def evaluate(self) -> dict[str, float]:
        """Ranking of the validation part by constrained beam search."""
        return evaluate(self.scorer(self._histories.validation), self._histories.validation).means()

    def scorer(self, split: Split) -> Scorer:
        """Log-probabilities of the ids found from the training part of a split."""
        return id_scorer(self.module, split, self._spec.beams)
