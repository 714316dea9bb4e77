"""What a job over histories did, and the card that says so beside its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from connector.adaptation.sequences.data import Histories
from connector.adaptation.sequences.spec import HistorySpec


@dataclass(frozen=True)
class SequenceReport:
    """What a job did.

    Attributes:
        folder: the tower folder it wrote.
        users, items, interactions: learned from.
        skipped: reason → interactions that could not be used.
        steps: done in all, over every run of the job.
        best_step: the step whose state was kept.
        metrics: validation figures of the kept state; those named `test/…` where the spec holds a test part out.
        steps_per_second: of training, evaluation aside.
    """

    folder: Path
    users: int
    items: int
    interactions: int
    skipped: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    best_step: int = 0
    loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    steps_per_second: float = 0.0

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in self.metrics.items())
        return (
            f"{self.interactions} interactions of {self.users} users with {self.items} items "
            f"({sum(self.skipped.values())} skipped), {self.steps} steps in {self.seconds:.0f} s; "
            f"kept step {self.best_step}: {figures}; written to {self.folder}"
        )


def write_card(spec: HistorySpec, report: SequenceReport, title: str, what: str, use: str) -> str:
    """Markdown; names files without their folders."""
    figures = "\n".join(f"| {name} | {value:.3f} |" for name, value in report.metrics.items())
    source = spec.interactions
    kept = f", `{source.value}` at least {source.at_least:g}" if source.value else ""
    return f"""# {title}

{what} {use}

## Trained on

`{Path(source.path).name}`{kept}: {report.interactions} interactions of {report.users} users, {report.items} items.
Of each history the newest {spec.test:.0%} was held out for the test, and of the rest the newest \
{spec.validation:.0%} for validation.

{report.steps} steps of {spec.batch_size}, AdamW at {spec.learning_rate:g}, seed {spec.seed}; the state of step \
{report.best_step} was kept.

## How well it does

Every item competes; items of the history are left out. Figures without `test/` are of the validation part, on which the
kept state was chosen.

| figure | value |
|---|---|
{figures}
"""


def counts(histories: Histories) -> dict[str, int]:
    """Fields of the report that say what was learned from."""
    return {
        "users": sum(len(history) > 1 for history in histories.learned),
        "items": len(histories.items),
        "interactions": histories.interactions,
    }
