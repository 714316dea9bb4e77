"""What a fusion job did, and the card that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from connector.adaptation.fusion.spec import FusionSpec
from connector.adaptation.report import TrainingReport


@dataclass(frozen=True, kw_only=True)
class FusionReport(TrainingReport):
    """What a job did.

    Attributes:
        items, held_out: rows trained and validated on.
        compared: baseline or control → its figures on the same rows.
    """

    items: int
    held_out: int
    compared: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def learned_from(self) -> str:
        return f"{self.items} items"

    @property
    def shown(self) -> dict[str, float]:
        return {name: value for name, value in self.metrics.items() if name.endswith("recall@1")}


def write_card(spec: FusionSpec, report: FusionReport) -> str:
    """Markdown; names files without their folders."""
    members = "\n".join(
        f"- {name}: `{Path(member.encoder).name}` of {', '.join(member.columns)}"
        for name, member in spec.members.items()
    )
    where = f"in the space of its {spec.towards} encoder" if spec.towards else "in a space of its own"
    table = figure_table({"this head": report.metrics, **report.compared})
    return f"""# Fused item encoder

A {spec.head} head over member encoders that stayed as they are, {where}. Load it with `encoders.load(folder)`; an
item is a mapping of modality to raw content, and any of them may be absent.

## Members

{members}

## Trained on

`{Path(spec.catalogue.path).name}`: {report.items} items, {report.held_out} held out. {report.steps} steps of \
{spec.batch_size}, symmetric
InfoNCE between two views of an item, each modality kept in a view with probability {spec.keep:g}; AdamW at \
{spec.learning_rate:g}, seed {spec.seed};
the state of step {report.best_step} was kept.{report.resumed}

## How well a part finds its item, on the rows held out

The whole contains the part that was asked with; the rest does not.

{table}
"""


def figure_table(columns: Mapping[str, Mapping[str, float]]) -> str:
    """Figures as rows and methods as columns, in Markdown."""
    names = list(dict.fromkeys(name for figures in columns.values() for name in figures))
    lines = [f"| figure | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        cells = [f"{figures[name]:.3f}" if name in figures else "" for figures in columns.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
