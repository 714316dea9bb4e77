"""Logs that TensorBoard reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connector.adaptation.checkpoint import Progress

FOLDER = "tensorboard"
EVERY = 20


class Board:
    """Loss, learning rate and validation figures by step.

    Args:
        folder: of the job; events lie in `tensorboard` below it.
        step: what was written after it, by a run that died later than its last checkpoint, is overruled.
        write: whether this process writes at all.
    """

    def __init__(self, folder: Path, step: int, *, write: bool = True) -> None:
        self._writer: Any = None
        if write:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(folder / FOLDER), purge_step=step + 1 if step else None)

    def step(self, progress: Progress, rate: float) -> None:
        """After each step; every twentieth is written."""
        if self._writer is not None and progress.step % EVERY == 0:
            self._writer.add_scalar("train/loss", progress.loss, progress.step)
            self._writer.add_scalar("train/learning_rate", rate, progress.step)

    def figures(self, progress: Progress) -> None:
        """After each evaluation."""
        if self._writer is not None:
            for name, value in progress.metrics.items():
                self._writer.add_scalar(f"validation/{name}", value, progress.step)
            self._writer.add_scalar("train/loss", progress.loss, progress.step)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
