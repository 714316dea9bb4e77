"""What a job over histories did, and the card that says so beside its result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.adaptation.report import TrainingReport, figure_rows
from connector.adaptation.sequences.data import Histories
from connector.adaptation.sequences.spec import HistorySpec


@dataclass(frozen=True, kw_only=True)
class SequenceReport(TrainingReport):
    """What a job did.

    Attributes:
        users, items, interactions: learned from.
        metrics: validation figures of the kept state; those named `test/…` where the spec holds a test part out.
    """

    users: int
    items: int
    interactions: int

    @property
    def learned_from(self) -> str:
        return f"{self.interactions} interactions of {self.users} users with {self.items} items"


def write_card(spec: HistorySpec, report: SequenceReport, title: str, what: str, use: str) -> str:
    """Markdown; names files without their folders."""
    source = spec.interactions
    kept = f", `{source.value}` at least {source.at_least:g}" if source.value else ""
    return f"""# {title}

{what} {use}

## Trained on

`{Path(source.path).name}`{kept}: {report.interactions} interactions of {report.users} users, {report.items} items.
Of each history the newest {spec.test:.0%} was held out for the test, and of the rest the newest \
{spec.validation:.0%} for validation.

{report.steps} steps of {spec.batch_size}, AdamW at {spec.learning_rate:g}, seed {spec.seed}; the state of step \
{report.best_step} was kept.{report.resumed}

## How well it does

Every item competes; items of the history are left out. Figures without `test/` are of the validation part, on which the
kept state was chosen.

| figure | value |
|---|---|
{figure_rows(report.metrics)}
"""


def counts(histories: Histories) -> dict[str, Any]:
    """Fields of the report that say what was learned from."""
    return {
        "users": sum(len(history) > 1 for history in histories.learned),
        "items": len(histories.items),
        "interactions": histories.interactions,
    }
