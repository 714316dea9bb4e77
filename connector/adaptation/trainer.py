"""The training loop of every job: AdamW under a warm-up and a cosine, evaluated, checkpointed, stopped on NaN."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from connector.adaptation.board import FOLDER as BOARD
from connector.adaptation.board import Board
from connector.adaptation.checkpoint import (
    Progress,
    load_checkpoint,
    load_state,
    save_checkpoint,
    state_of,
)
from connector.adaptation.processes import Processes
from connector.adaptation.run_spec import RunSpec
from connector.errors import ConfigurationError, TrainingError

LOG = "log.jsonl"
GRADIENT_NORM = 1.0

Notice = Callable[[Progress, float], None]


@dataclass(frozen=True)
class Plan:
    """How long, how fast and how carefully.

    Attributes:
        steps: in all; None where `minutes` says when to stop.
        metric: name of the evaluation result that decides which state is best; higher is better.
    """

    spec_hash: str
    steps: int | None
    minutes: float | None
    learning_rate: float
    warmup: float
    weight_decay: float
    evaluate_every: int
    checkpoint_every: int
    patience: int | None
    seed: int
    metric: str

    @classmethod
    def of(cls, spec: RunSpec, metric: str, steps: int | None) -> Plan:
        """The plan of a spec; `steps` where the job has worked out what its `epochs` come to."""
        return cls(
            spec_hash=spec.hash,
            steps=steps,
            minutes=spec.minutes,
            learning_rate=spec.learning_rate,
            warmup=spec.warmup,
            weight_decay=spec.weight_decay,
            evaluate_every=spec.evaluate_every,
            checkpoint_every=spec.checkpoint_every,
            patience=spec.patience,
            seed=spec.seed,
            metric=metric,
        )


class Trainer:
    """Trains one module, in one process or in as many as `accelerate launch` started.

    Args:
        module: everything that is learned.
        loss_of: number of a batch (the step, with one process) → its loss; must depend on number and seed alone, so
            that a resumed job goes the same way.
        evaluate: → metrics, `plan.metric` among them; the module is in evaluation mode.
        folder: of checkpoints and log.
        notice: told the progress and the rate in steps per second, after each step.
    """

    def __init__(
        self,
        module: nn.Module,
        loss_of: Callable[[int], Tensor],
        evaluate: Callable[[], dict[str, float]],
        plan: Plan,
        folder: Path,
        notice: Notice | None = None,
    ) -> None:
        self._module, self._loss_of, self._evaluate, self._plan = module, loss_of, evaluate, plan
        self._folder, self._notice = folder, notice
        self._optimizer = torch.optim.AdamW(_parameter_groups(module, plan.weight_decay), lr=plan.learning_rate)
        self._best_folder = folder / "best"
        self._processes = Processes(next(module.parameters()).device)

    def run(self, *, resume: bool = False, until: int | None = None) -> Progress:
        """Train to the end of the plan and leave the module in its best state.

        Args:
            resume: go on from the newest checkpoint, if there is one.
            until: leave off after this step, as if interrupted; for tests and for time slots.

        Raises:
            TrainingError: the loss is not finite; names the step and the last good checkpoint.
            ConfigurationError: the checkpoint was made under another spec.
        """
        progress = self._start(resume)
        main = self._processes.main
        board = Board(self._folder, progress.step, write=main)
        try:
            while not self._done(progress) and (until is None or progress.step < until):
                start = time.perf_counter()
                self._step(progress)
                progress.seconds += time.perf_counter() - start
                if self._plan.minutes is not None:
                    progress.seconds = self._processes.agree(progress.seconds)
                if self._notice and main:
                    self._notice(progress, progress.step / max(progress.seconds, 1e-9))
                board.step(progress, self._rate(progress))
                last = self._done(progress)
                if last or progress.step % self._plan.evaluate_every == 0:
                    self._assess(progress)
                    self._log(progress)
                    board.figures(progress)
                if main and (last or progress.step % self._plan.checkpoint_every == 0):
                    save_checkpoint(self._folder / "checkpoints", self._module, self._optimizer, progress)
        finally:
            board.close()
        self._processes.wait()
        self._restore_best()
        return progress

    def _log(self, progress: Progress) -> None:
        if self._processes.main:
            with (self._folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(_record(progress, self._rate(progress))) + "\n")

    def _start(self, resume: bool) -> Progress:
        self._folder.mkdir(parents=True, exist_ok=True)
        checkpoints = self._folder / "checkpoints"
        found = load_checkpoint(checkpoints, self._module, self._optimizer) if resume else None
        self._processes.wait()
        if found is None:
            if self._processes.main:
                _remove(self._folder / name for name in ("checkpoints", "best", LOG, BOARD))
            return Progress(self._plan.spec_hash)
        if found.spec_hash != self._plan.spec_hash:
            raise ConfigurationError(
                f"{checkpoints}: was made under another spec; name another out folder, or start afresh without resume"
            )
        return found

    def _step(self, progress: Progress) -> None:
        self._module.train()
        batch = progress.step * self._processes.count + self._processes.index
        # Towers with dropout draw from torch's own generator.
        torch.manual_seed(self._plan.seed * 1_000_003 + batch)
        rate = self._rate(progress)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = self._loss_of(batch)
        value = float(self._processes.mean(loss.detach()))
        if not math.isfinite(value):
            raise TrainingError(self._broken(progress, value))
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._processes.average_gradients(self._module)
        norm = nn.utils.clip_grad_norm_(self._module.parameters(), GRADIENT_NORM)
        if not bool(torch.isfinite(norm)):
            raise TrainingError(self._broken(progress, float(norm), "gradient"))
        self._optimizer.step()
        progress.step += 1
        progress.loss = value if progress.loss is None else 0.95 * progress.loss + 0.05 * value

    def _assess(self, progress: Progress) -> None:
        self._module.eval()
        with torch.no_grad():
            progress.metrics = self._processes.agree(self._evaluate())
        value = progress.metrics[self._plan.metric]
        if progress.best is None or value > progress.best:
            progress.best, progress.best_step, progress.stale = value, progress.step, 0
            if self._processes.main:
                save_best(self._best_folder, self._module)
        else:
            progress.stale += 1

    def _done(self, progress: Progress) -> bool:
        if self._plan.patience is not None and progress.stale >= self._plan.patience:
            return True
        return self._share(progress) >= 1

    def _share(self, progress: Progress) -> float:
        if self._plan.steps is not None:
            return progress.step / self._plan.steps
        return progress.seconds / (60 * (self._plan.minutes or 1))

    def _rate(self, progress: Progress) -> float:
        share, warmup = min(self._share(progress), 1.0), self._plan.warmup
        if share < warmup:
            return self._plan.learning_rate * max(share, 1e-3) / warmup
        return self._plan.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup))) / 2)

    def _restore_best(self) -> None:
        if (self._best_folder / "model.safetensors").is_file():
            from safetensors.torch import load_file

            load_state(self._module, load_file(self._best_folder / "model.safetensors"))
        self._module.eval()

    def _broken(self, progress: Progress, value: float, what: str = "loss") -> str:
        kept = sorted((self._folder / "checkpoints").glob("step-*"))
        last = f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint had been written yet"
        return f"step {progress.step}: the {what} is {value}; {last}; lower learning_rate, or look for broken rows"


def save_best(folder: Path, module: nn.Module) -> None:
    """Write the module's state into `folder`, whole or not at all."""
    from safetensors.torch import save_file

    from encoders.files import new_folder

    with new_folder(folder) as filling:
        save_file(state_of(module), filling / "model.safetensors")


def _parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay is for matrices and filters: biases, norms and scales are left alone."""
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _remove(paths: Iterable[Path]) -> None:
    import shutil

    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _record(progress: Progress, rate: float) -> dict[str, Any]:
    return {
        "step": progress.step,
        "seconds": round(progress.seconds, 3),
        "loss": progress.loss,
        "learning_rate": rate,
        **progress.metrics,
    }
