"""The training loop of every job: AdamW under a warm-up and a cosine, evaluated, checkpointed, stopped on NaN."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from connector.adaptation.best import BestStates
from connector.adaptation.board import FOLDER as BOARD
from connector.adaptation.board import Board
from connector.adaptation.checkpoint import Progress, laid_out_like, load_checkpoint, save_checkpoint
from connector.adaptation.identity import identity_of
from connector.adaptation.processes import Processes
from connector.adaptation.run_spec import CHANGEABLE, RunSpec
from connector.errors import ConfigurationError, TrainingError

LOG = "log.jsonl"
CHECKPOINTS = "checkpoints"
BEST = "best"
GRADIENT_NORM = 1.0

Notice = Callable[[Progress, float], None]


@dataclass(frozen=True)
class Plan:
    """How long, how fast and how carefully.

    Attributes:
        steps: in all; None where `minutes` says when to stop.
        metric: name of the evaluation result that decides which state is best; higher is better, and what is not a
            finite number is never better.
        spec_hash, inputs: what a resumed job must share with its checkpoint, see `identity.identity_of`.
        settings: what it may be told anew, to be compared with the checkpoint's.
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
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: RunSpec, metric: str, steps: int | None, processes: int = 1) -> Plan:
        """The plan of a spec; `steps` where the job has worked out what its `epochs` come to."""
        spec_hash, inputs = identity_of(spec)
        return cls(
            spec_hash=spec_hash,
            inputs=inputs,
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
            settings={**spec.changeable, "processes": processes},
        )


class Trainer:
    """Trains one module, in one process or in as many as `accelerate launch` started.

    The learning rate is a function of the plan and of the share of it that is done. A resumed job whose plan was
    changed goes on at the rate that the new plan has at this point: another `learning_rate` scales the whole curve;
    with more `steps` the same step lies earlier on it, where the rate is higher, or in the warm-up again. The
    optimiser's moments are the checkpoint's. Such a job does not end like an undisturbed one.

    Args:
        module: everything that is learned.
        loss_of: number of a batch (the step, with one process) → its loss; must depend on number and seed alone, so
            that a resumed job goes the same way.
        evaluate: → metrics, `plan.metric` among them; the module is in evaluation mode.
        folder: of checkpoints and log.
        notice: told the progress and the rate in steps per second, after each step.
        say: told in a line what was changed since the checkpoint, or that there is none.
        rates: start of parameters' names → their learning rate as a share of the plan's.
    """

    def __init__(
        self,
        module: nn.Module,
        loss_of: Callable[[int], Tensor],
        evaluate: Callable[[], dict[str, float]],
        plan: Plan,
        folder: Path,
        notice: Notice | None = None,
        say: Callable[[str], None] | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        self._module, self._loss_of, self._evaluate, self._plan = module, loss_of, evaluate, plan
        self._folder, self._notice, self._say = folder, notice, say
        self._device = next(module.parameters()).device
        # On the CPU torch would otherwise update each parameter by a dozen small operations.
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(module, plan.weight_decay, rates or {}),
            lr=plan.learning_rate,
            fused=self._device.type == "cpu" or None,
        )
        self._best = BestStates(folder / BEST)
        self._processes = Processes(self._device)

    def run(self, *, resume: bool = False, until: int | None = None) -> Progress:
        """Train to the end of the plan and leave the module in its best state.

        Args:
            resume: go on from the newest checkpoint, if there is one.
            until: leave off after this step, as if interrupted; for tests and for time slots.

        Raises:
            TrainingError: the loss is not finite; names the step and the last good checkpoint. Or no evaluation gave a
                finite metric, so that no state is known to be the best.
            ConfigurationError: the checkpoint was made under another spec, or from other data.
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
                    # Patience may have come to its end.
                    last = self._done(progress)
                if main and (last or progress.step % self._plan.checkpoint_every == 0):
                    save_checkpoint(self._folder / CHECKPOINTS, self._module, self._optimizer, progress)
                    self._best.settle(_best_step(progress))
            if self._done(progress) and not progress.metrics:
                # Resumed under a plan that is over already, before a first evaluation.
                self._assess(progress)
                self._log(progress)
                board.figures(progress)
        finally:
            board.close()
        self._processes.wait()
        self._finish(progress)
        return progress

    def _log(self, progress: Progress) -> None:
        if self._processes.main:
            self._write_log(_record(progress, self._rate(progress)))

    def _write_log(self, record: dict[str, Any]) -> None:
        with (self._folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")

    def _start(self, resume: bool) -> Progress:
        self._folder.mkdir(parents=True, exist_ok=True)
        checkpoints = self._folder / CHECKPOINTS
        found = load_checkpoint(checkpoints, self._module, self._optimizer, self._require_same) if resume else None
        self._processes.wait()
        if found is None:
            if self._processes.main:
                if resume and self._say:
                    self._say(f"{checkpoints}: no checkpoint to go on from; the job starts afresh")
                _remove(self._folder / name for name in (CHECKPOINTS, BEST, LOG, BOARD))
            return Progress(self._plan.spec_hash, settings=self._plan.settings, inputs=self._plan.inputs)
        if self._processes.main:
            self._best.settle(_best_step(found))
        self._adopt_settings(found)
        return found

    def _require_same(self, found: Progress) -> None:
        if found.spec_hash != self._plan.spec_hash:
            raise ConfigurationError(
                f"{self._folder / CHECKPOINTS}: was made under another spec; name another out folder, or start afresh "
                f"without resume (only out, {', '.join(CHANGEABLE)} may change)"
            )
        changed = [name for name, digest in self._plan.inputs.items() if found.inputs.get(name) != digest]
        if changed:
            raise ConfigurationError(
                f"{self._folder / CHECKPOINTS}: was made from other data: {', '.join(changed)} does not hold what it "
                "held then; give it back its content, or name another out folder, or start afresh without resume"
            )

    def _adopt_settings(self, progress: Progress) -> None:
        """Take the plan's settings for the checkpoint's, and say which are new."""
        before, now = progress.settings, self._plan.settings
        changed = {name: (before.get(name), value) for name, value in now.items() if before.get(name) != value}
        progress.settings = now
        if not changed:
            return
        parts = (f"{name} {_shown(new)} instead of {_shown(old)}" for name, (old, new) in changed.items())
        line = f"from step {progress.step} on: {', '.join(parts)}"
        progress.changes.append(line)
        if self._processes.main:
            self._write_log({"step": progress.step, "changed": line})
            if self._say:
                self._say(line)

    def _step(self, progress: Progress) -> None:
        self._module.train()
        batch = progress.step * self._processes.count + self._processes.index
        # Towers with dropout draw from torch's own generator.
        _seed(self._plan.seed * 1_000_003 + batch, self._device)
        rate = self._rate(progress)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["share"]
        loss = self._loss_of(batch)
        value = float(self._processes.mean(loss.detach()))
        if not math.isfinite(value):
            raise TrainingError(self._broken(progress, value))
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._processes.average_gradients(self._module)
        for parameter in self._module.parameters():
            if parameter.grad is not None and parameter.grad.stride() != parameter.stride():
                parameter.grad = laid_out_like(parameter, parameter.grad)
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
        # Loss and gradient are looked at on their own: a metric can be no number because of the rows held out.
        if math.isfinite(value) and (progress.best is None or value > progress.best):
            progress.best, progress.best_step, progress.stale = value, progress.step, 0
            if self._processes.main:
                self._best.save(self._module, progress.step)
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

    def _finish(self, progress: Progress) -> None:
        """Leave the module in its best state; in its last, where the job was left off before a first evaluation."""
        if progress.best is not None:
            self._best.restore(self._module, progress.best_step)
        elif self._done(progress):
            raise TrainingError(
                f"{self._folder}: no evaluation gave a finite {self._plan.metric} (at last "
                f"{progress.metrics[self._plan.metric]}); look for broken rows among those held out"
            )
        self._module.eval()

    def _broken(self, progress: Progress, value: float, what: str = "loss") -> str:
        kept = sorted((self._folder / CHECKPOINTS).glob("step-*"))
        last = f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint had been written yet"
        way = "lower learning_rate and resume" if kept else "lower learning_rate"
        return f"step {progress.step}: the {what} is {value}; {last}; {way}, or look for broken rows"


def _seed(seed: int, device: torch.device) -> None:
    # `torch.manual_seed` would also write down where it was called from, once for each kind of accelerator that is not
    # there: half a millisecond, of steps that may take six.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)


def _best_step(progress: Progress) -> int | None:
    return None if progress.best is None else progress.best_step


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def _parameter_groups(module: nn.Module, weight_decay: float, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """Weight decay is for matrices and filters: biases, norms and scales are left alone."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            share = next((share for start, share in rates.items() if name.startswith(start)), 1.0)
            groups.setdefault((share, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "share": share}
        for (share, decays), parameters in groups.items()
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
