"""Training: steps per second of the jobs, beside a bare torch loop on the same network."""

from __future__ import annotations

import io
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.nn import functional

from benchmarks import training_jobs
from benchmarks.harness import Figure, figure
from connector.adaptation import ContrastiveSpec, NextItemSpec, pretrain
from encoders.towers.history import Shape
from encoders.towers.sequence import SequenceTower

STEPS, ROUNDS = 60, 3
ITEMS, USERS, LENGTH, BATCH = 3000, 2000, 51, 128
SIDE, PICTURES, PICTURE_BATCH, WIDTHS, DEPTHS = 96, 512, 64, (24, 48, 96, 192), (1, 1, 2, 2)


def run() -> tuple[list[Figure], dict[str, Any]]:
    """Rates of every job; evaluation, reading and saving are not counted.

    `next_item` and `contrastive` on pictures are held against loops that make their own batches, the other jobs against
    loops around their own losses.
    """
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        rates: dict[str, list[float]] = {name: [] for name in ("job", "bare", "pictures", "bare pictures")}
        chosen, captioned = interactions(Path(folder)), pairs(Path(folder))
        for number in range(ROUNDS):
            rates["job"].append(_next_item(chosen, Path(folder) / f"next{number}"))
            rates["bare"].append(_bare_next_item())
            rates["pictures"].append(_contrastive(captioned, Path(folder) / f"pictures{number}"))
            rates["bare pictures"].append(_bare_contrastive())
        others = list(training_jobs.rates(Path(folder), ITEMS))
    median = {name: statistics.median(values) for name, values in rates.items()}
    return [
        figure(
            "next_item (SASRec, full softmax)",
            median["job"],
            "steps/s",
            baseline="bare torch loop",
            baseline_value=median["bare"],
            goal=">= 0.9",
        ),
        figure(
            "contrastive on pictures, augmented",
            median["pictures"],
            "steps/s",
            baseline="bare torch loop, not augmented",
            baseline_value=median["bare pictures"],
            goal=">= 0.9",
        ),
        *others,
    ], {"steps": STEPS, "rounds": ROUNDS, "threads": threads, "batch": BATCH, "pictures in a batch": PICTURE_BATCH}


def _next_item(interactions: Path, out: Path) -> float:
    spec = NextItemSpec(
        job="next_item",
        out=str(out),
        interactions={"path": str(interactions), "user": "user", "item": "item", "time": "time"},
        longest=LENGTH - 1,
        batch_size=BATCH,
        steps=STEPS,
        evaluate_every=STEPS,
        checkpoint_every=STEPS,
    )
    return float(pretrain(spec, show=False).steps_per_second)


def _bare_next_item() -> float:
    tower = SequenceTower([f"i{item}" for item in range(ITEMS)], Shape(64, 2, 2, LENGTH - 1, 0.2), normalize=False)
    generator = np.random.default_rng(0)

    def loss() -> torch.Tensor:
        windows = torch.from_numpy(generator.integers(1, ITEMS + 1, (BATCH, LENGTH)))
        states = tower.states(windows[:, :-1]).flatten(0, 1)
        return functional.cross_entropy(states @ tower.item_vectors().T, windows[:, 1:].flatten() - 1)

    return training_jobs.bare_rate(tower, lambda _: loss(), STEPS)


def _contrastive(pairs: Path, out: Path) -> float:
    spec = ContrastiveSpec(
        job="contrastive",
        out=str(out),
        pairs=[{"path": str(pairs), "image": "image", "text": ["{words}"], "group": ["words"]}],
        tower={"kind": "new", "image_size": SIDE, "hidden_sizes": WIDTHS, "depths": DEPTHS},
        batch_size=PICTURE_BATCH,
        steps=STEPS,
        evaluate_every=STEPS,
        checkpoint_every=STEPS,
    )
    return float(pretrain(spec, show=False).steps_per_second)


def _bare_contrastive() -> float:
    from connector.adaptation.spec import NewTower
    from connector.adaptation.towers import build_tower

    tower = build_tower(NewTower(kind="new", image_size=SIDE, hidden_sizes=WIDTHS, depths=DEPTHS), 384, ())
    module: Any = tower
    module.to(memory_format=torch.channels_last)
    pictures = torch.rand(PICTURES, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    words = functional.normalize(torch.randn(PICTURES, 384), dim=1)
    labels = torch.arange(PICTURE_BATCH)

    def loss() -> torch.Tensor:
        rows = torch.randint(0, PICTURES, (PICTURE_BATCH,))
        scores = tower(pictures[rows]) @ words[rows].T / 0.07
        return (functional.cross_entropy(scores, labels) + functional.cross_entropy(scores.T, labels)) / 2

    return training_jobs.bare_rate(tower, lambda _: loss(), STEPS)


def interactions(folder: Path) -> Path:
    """Write `interactions.parquet`: histories of random items `i0` …"""
    generator = np.random.default_rng(0)
    table = pa.table(
        {
            "user": np.repeat(np.arange(USERS), LENGTH + 6).astype(str),
            "item": [f"i{item}" for item in generator.integers(0, ITEMS, USERS * (LENGTH + 6))],
            "time": np.tile(np.arange(LENGTH + 6), USERS),
        }
    )
    path = folder / "interactions.parquet"
    pq.write_table(table, path)
    return path


def pairs(folder: Path) -> Path:
    """Write `pairs.parquet`: pictures of noise, and a name for each."""
    generator = np.random.default_rng(0)
    pictures = []
    for _ in range(PICTURES):
        output = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(output, "PNG")
        pictures.append(output.getvalue())
    path = folder / "pairs.parquet"
    pq.write_table(pa.table({"image": pictures, "words": [f"picture {n}" for n in range(PICTURES)]}), path)
    return path
