"""One way for every job to be trained: as long as its spec says, under a bar, by the one loop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from connector.adaptation.bar import TrainingBar
from connector.adaptation.checkpoint import Progress
from connector.adaptation.processes import Processes
from connector.adaptation.run_spec import RunSpec
from connector.adaptation.trainer import Plan, Trainer
from connector.errors import TrainingError


class TrainingJob(Protocol):
    """Batches, loss and evaluation of one run.

    Attributes:
        device: where it computes.
    """

    device: torch.device

    @property
    def module(self) -> Any:
        """Everything that is learned, a torch module."""

    @property
    def lap(self) -> float:
        """Batches of one process after which every row has come once."""

    def loss_of(self, batch: int) -> Tensor:
        """Loss of batch number `batch`, which depends on that number and the seed alone."""

    def evaluate(self) -> dict[str, float]:
        """Validation figures."""


def train(
    job: TrainingJob,
    spec: RunSpec,
    metric: str,
    *,
    resume: bool = False,
    until: int | None = None,
    show: bool = True,
    rates: Mapping[str, float] | None = None,
    inputs: Mapping[str, str] | None = None,
) -> Progress:
    """Train a job to its end and leave its module in its best state.

    Args:
        metric: name of the validation figure that decides which state is best; higher is better.
        resume: go on from the newest checkpoint in `spec.out`; on the CPU the result is that of an undisturbed run.
            Length, rate, device and care may be changed (`run_spec.CHANGEABLE`); then it is another, as report and log
            say.
        until: leave off after this step, as if interrupted.
        show: draw a progress bar where a person is watching.
        rates: start of parameters' names → their learning rate as a share of the spec's.
        inputs: what the data came to, by name → digest; a checkpoint with others is of other data.

    Raises:
        TrainingError: the loss is not finite; names the step and the last good checkpoint. Or no evaluation gave a
            finite metric, or the processes of the job read other data.
        ConfigurationError: `resume` finds a checkpoint of another spec, or of other data.
    """
    processes = Processes(job.device)
    own = dict(inputs or {})
    others = processes.agree(own)
    if changed := [name for name, digest in own.items() if others.get(name) != digest]:
        raise TrainingError(
            f"process {processes.index} of {processes.count}: {changed[0]} is another here than in the main process; "
            "see that all of them can read the same files (fetch what lies behind URLs first), then start again"
        )
    plan = Plan.of(spec, metric, planned_steps(spec, job.lap, processes.count), processes.count)
    plan = replace(plan, inputs={**plan.inputs, **own})
    module: nn.Module = job.module
    with TrainingBar(spec.job, plan.steps, show=show) as bar:
        trainer = Trainer(module, job.loss_of, job.evaluate, plan, Path(spec.out), bar.notice, bar.say, rates)
        return trainer.run(resume=resume, until=until)


def planned_steps(spec: RunSpec, lap: float, processes: int) -> int | None:
    """How many steps a spec asks for; None where it gives minutes.

    Args:
        lap: batches of one process after which every row has come once.
        processes: that share the job, each with batches of its own.
    """
    if spec.epochs is None:
        return spec.steps
    return max(1, math.ceil(spec.epochs * lap / processes))
