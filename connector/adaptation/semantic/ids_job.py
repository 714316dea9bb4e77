"""The job that makes semantic ids: a residual-quantised autoencoder over item vectors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from connector.adaptation.processes import Processes, choose_device
from connector.adaptation.report import TrainingReport, outcome
from connector.adaptation.sampler import MixedBatches, split
from connector.adaptation.semantic.content import read_content, require_distinct
from connector.adaptation.semantic.saving import save_quantiser
from connector.adaptation.semantic.spec import SemanticIdsSpec
from connector.adaptation.training import train
from connector.errors import TrainingError
from encoders.content_encoder import encoder_record
from encoders.files import write_bytes
from encoders.semantic.quantiser import Codes, Quantiser
from encoders.semantic.trie import with_last_code

if TYPE_CHECKING:
    from encoders.contract import EncoderContract

IDS = "semantic_ids.parquet"
QUANTISER = "quantiser"
METRIC = "explained"
MOST_START = 20_000


@dataclass(frozen=True, kw_only=True)
class SemanticIdsReport(TrainingReport):
    """What a job did.

    Attributes:
        folder: the quantiser; the ids lie beside it in `semantic_ids.parquet`.
        items: how many got an id.
        metrics: `explained` 1 - reconstruction error / variance, of the items held out; `used/<level>` share of a
            codebook that is used; `collisions` share of items whose codes another item has too; `longest_collision`
            items that share one.
    """

    items: int

    @property
    def learned_from(self) -> str:
        return f"{self.items} items"


def pretrain_semantic_ids(
    spec: SemanticIdsSpec, *, resume: bool = False, until: int | None = None, show: bool = True
) -> SemanticIdsReport:
    """Run the job; write `spec.out/quantiser` and the ids of all items, `spec.out/semantic_ids.parquet`.

    Args:
        resume: go on from the newest checkpoint in `spec.out`; on the CPU the result is that of an undisturbed run.
        until: leave off after this step, as if interrupted.
        show: draw a progress bar where a person is watching.

    Raises:
        CatalogueError: vectors that cannot be read.
        TrainingError: too few items, vectors that are all alike, or a loss that is not finite.
        ConfigurationError: `resume` finds a checkpoint of another spec.
    """
    content = read_content(spec.content, show=show)
    require_distinct(spec.content, content.vectors)
    torch.manual_seed(spec.seed)
    job = _Job(spec, content.vectors)
    out, progress = Path(spec.out), train(job, spec, METRIC, resume=resume, until=until, show=show)
    codes = job.codes()
    report = SemanticIdsReport(
        folder=out / QUANTISER,
        items=len(content.ids),
        skipped=dict(content.skipped),
        metrics={**job.evaluate(), **figures_of(codes, spec.size)},
        **outcome(progress),
    )
    if Processes(job.device).main:
        save_quantiser(job.module.cpu().eval(), report.folder, spec, report, content.encoder)
        write_ids(out / IDS, content.ids, with_last_code(codes), content.encoder)
    return report


def figures_of(codes: NDArray[np.int64], size: int) -> dict[str, float]:
    """Use of the codebooks and collisions, from the codes of all items, int64 [items, levels]."""
    used = {f"used/{level + 1}": len(np.unique(codes[:, level])) / size for level in range(codes.shape[1])}
    _, counts = np.unique(codes, axis=0, return_counts=True)
    collisions = float(counts[counts > 1].sum() / len(codes))
    return {**used, "collisions": collisions, "longest_collision": float(counts.max())}


def write_ids(path: Path, ids: list[str], codes: NDArray[np.int64], encoder: EncoderContract | None = None) -> None:
    """Write `item_id` and `codes` as Parquet; the last code tells apart items whose others are the same.

    Args:
        encoder: of the vectors that the codes were made of; it is written into the file's schema, or null.
    """
    flat = pa.FixedSizeListArray.from_arrays(pa.array(codes.astype(np.int32).reshape(-1)), codes.shape[1])
    sink = pa.BufferOutputStream()
    told = {name: json.dumps(value) for name, value in encoder_record(encoder).items()}
    pq.write_table(pa.table({"item_id": ids, "codes": flat}, metadata=told), sink)
    write_bytes(path, sink.getvalue().to_pybytes())


class _Job:
    """Batches, loss and evaluation of one run."""

    def __init__(self, spec: SemanticIdsSpec, vectors: NDArray[np.float32]) -> None:
        learned, self._held = split(len(vectors), spec.validation, spec.seed)
        if len(learned) < 2 or not len(self._held):
            raise TrainingError(f"{spec.content.path}: {len(vectors)} items are too few to learn codes from")
        self._spec, self.device = spec, choose_device(spec.device)
        self._processes = Processes(self.device)
        self._vectors = torch.from_numpy(vectors).to(self.device)
        self._batches = MixedBatches([learned], [None], spec.batch_size, spec.seed)
        codes = Codes(vectors.shape[1], spec.levels, spec.size, spec.latent, spec.hidden)
        self.module = Quantiser(codes).to(self.device)
        start = np.random.default_rng([spec.seed, 0xC0]).permutation(learned)[:MOST_START]
        self.module.start_from(self._vectors[torch.from_numpy(start)], torch.Generator().manual_seed(spec.seed))

    @property
    def lap(self) -> float:
        """Batches after which every row has come once."""
        return self._batches.lap

    def loss_of(self, batch: int) -> Tensor:
        """Reconstruction and commitment of batch number `batch`; entries that died are revived on the way."""
        vectors = self._vectors[torch.from_numpy(self._batches.rows_of(batch))]
        if self._spec.revive:
            # Before the pass that gradients are taken of, and the same in every process and every resumed run.
            first = batch - batch % self._processes.count
            seen = self._vectors[torch.from_numpy(self._batches.rows_of(first))]
            generator = torch.Generator().manual_seed(self._spec.seed * 1_000_003 + first)
            self.module.revive(seen, self.module.encode(seen), self._spec.revive, generator)
        rebuilt, _, commitment = self.module(vectors)
        loss: Tensor = (rebuilt - vectors).square().sum(dim=-1).mean() + commitment
        return loss

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Reconstruction of the items held out."""
        self.module.eval()
        held = self._vectors[torch.from_numpy(self._held)]
        rebuilt = self.module.decode(self.module.encode(held))
        error = (rebuilt - held).square().sum(dim=-1).mean()
        variance = (held - self._vectors.mean(dim=0)).square().sum(dim=-1).mean()
        cosine = functional.cosine_similarity(rebuilt, held).mean()
        return {METRIC: float(1 - error / variance), "error": float(error), "cosine": float(cosine)}

    def codes(self) -> NDArray[np.int64]:
        """Codes of all items, int64 [items, levels]."""
        return np.asarray(self.module.encode(self._vectors).cpu().numpy(), np.int64)
