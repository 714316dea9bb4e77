"""What every job says when it is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.adaptation.checkpoint import Progress


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What a job did; prints as one line.

    Attributes:
        folder: its main result.
        skipped: reason → rows that could not be used.
        steps: done in all, over every run of the job.
        best_step: the step whose state was kept.
        loss: running mean over the last steps.
        metrics: validation figures of the kept state.
        seconds: of training, evaluation aside.
        steps_per_second: of the same.
        changes: settings that were changed where the job was resumed, a line for each time.
    """

    folder: Path
    skipped: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    best_step: int = 0
    loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    steps_per_second: float = 0.0
    changes: tuple[str, ...] = ()

    @property
    def encoders(self) -> dict[str, Path]:
        """Folders of the encoders it made, by what follows their name in a model repository."""
        return {"": self.folder}

    @property
    def learned_from(self) -> str:
        """How much of what, for people."""
        raise NotImplementedError

    @property
    def resumed(self) -> str:
        """For a card: which settings were changed on the way; empty where none were."""
        return "".join(f" Resumed {line}." for line in self.changes)

    @property
    def shown(self) -> dict[str, float]:
        """The metrics that the line names."""
        return self.metrics

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in self.shown.items())
        left_out = f" ({sum(self.skipped.values())} skipped)" if self.skipped else ""
        changes = f" ({'; '.join(self.changes)})" if self.changes else ""
        return (
            f"{self.learned_from}{left_out}, {self.steps} steps in {self.seconds:.0f} s{changes}; kept step "
            f"{self.best_step}: {figures}; written to {' and '.join(map(str, self.encoders.values()))}"
        )


def outcome(progress: Progress) -> dict[str, Any]:
    """Fields of a report that the training itself gives."""
    return {
        "steps": progress.step,
        "best_step": progress.best_step,
        "loss": progress.loss,
        "seconds": progress.seconds,
        "steps_per_second": progress.step / max(progress.seconds, 1e-9),
        "changes": tuple(progress.changes),
    }


def figure_rows(metrics: dict[str, float]) -> str:
    """Rows of a card's table."""
    return "\n".join(f"| {name} | {value:.3f} |" for name, value in metrics.items())
