"""Training speed of every job: its trainer beside a bare torch loop over the same losses, in turn, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.harness import Figure, figure
from connector.adaptation import pretrain
from connector.adaptation.checkpoint import Progress
from connector.adaptation.spec import parse_spec
from connector.adaptation.trainer import Trainer

ROUNDS, WARM_UP = 3, 3
CONTENT = 64
HISTORIES: dict[str, Any] = {
    "interactions": {"path": "interactions.parquet", "user": "user", "item": "item", "time": "time"}
}
ITEMS = {"content": {"path": "items.parquet"}}
PICTURES = {"pictures": [{"path": "pairs.parquet", "image": "image"}], "batch_size": 64}
MEMBERS = {"text": {"encoder": "text", "columns": ["words"]}, "image": {"encoder": "image", "columns": ["image"]}}
# Job → its settings, and the steps of a round: enough for some seconds, beside which opening the logs is little.
JOBS: dict[str, tuple[dict[str, Any], int]] = {
    "masked_item": ({**HISTORIES, "longest": 50}, 20),
    "universal_sequence": ({**HISTORIES, **ITEMS, "longest": 50}, 10),
    "semantic_ids": (ITEMS, 800),
    "next_semantic_id": ({**HISTORIES, "ids": "semantic_ids/semantic_ids.parquet", "longest": 20}, 10),
    "collaborative_alignment": ({**ITEMS, **HISTORIES}, 1200),
    "co_interaction": ({**HISTORIES, **ITEMS}, 800),
    "masked_patches": ({**PICTURES, "image_size": 64, "patch": 8, "hidden": 128, "layers": 4, "heads": 4}, 20),
    "views": ({**PICTURES, "tower": {"kind": "new", "image_size": 64}}, 10),
    "fusion": ({"catalogue": {"path": "pairs.parquet"}, "members": MEMBERS, "towards": "text", "batch_size": 64}, 300),
}


def rates(folder: Path, items: int) -> Iterator[Figure]:
    """Steps per second of each job, logs counted; evaluation, reading and checkpoints are not.

    Args:
        folder: with `interactions.parquet` and `pairs.parquet`.
        items: `i0` … of the interactions.
    """
    write_items(folder, items)
    for job, (settings, steps) in JOBS.items():
        never = {"evaluate_every": 10**9, "checkpoint_every": 10**9}
        spec = parse_spec({"job": job, "out": job, "steps": 10 * steps, **never, **settings})
        found: dict[str, list[float]] = {"job": [], "bare": []}
        with patch("connector.adaptation.training.Trainer", _both(found, steps)):
            pretrain(spec.located(folder), show=False)
        middle = {name: statistics.median(measured) for name, measured in found.items()}
        yield figure(
            job,
            middle["job"],
            "steps/s",
            baseline="bare torch loop, same losses",
            baseline_value=middle["bare"],
            goal=">= 0.9",
        )


def write_items(folder: Path, items: int) -> None:
    """Write `items.parquet`: random content vectors of `i0` …"""
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(items, CONTENT)).astype(np.float32)
    columns = {"item_id": [f"i{item}" for item in range(items)], "vector": list(vectors)}
    pq.write_table(pa.table(columns), folder / "items.parquet")


def _both(found: dict[str, list[float]], steps: int) -> type[Trainer]:
    class Both(Trainer):
        """Runs the bare loop and itself in turn, and writes down both rates."""

        def __init__(self, module: torch.nn.Module, loss_of: Callable[[int], torch.Tensor], *rest: Any) -> None:
            super().__init__(module, loss_of, *rest)
            self._bare = lambda: bare_rate(module, loss_of, steps)

        def run(self, *, resume: bool = False, until: int | None = None) -> Progress:
            for _ in range(ROUNDS):
                found["bare"].append(self._bare())
                start = time.perf_counter()
                progress = super().run(until=steps)
                found["job"].append(progress.step / (time.perf_counter() - start))
            return progress

    return Both


def bare_rate(module: torch.nn.Module, loss_of: Callable[[int], torch.Tensor], steps: int) -> float:
    """Steps per second of the loop that anybody would write."""
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-3)
    module.train()
    start = 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss_of(step).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
    return steps / (time.perf_counter() - start)
