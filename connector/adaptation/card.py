"""The card beside a trained encoder: what it was trained on, how, and how well it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from connector.adaptation.report import figure_rows
from connector.adaptation.sound_spec import SECONDS
from connector.adaptation.spec import ContrastiveSpec, PairSource

if TYPE_CHECKING:
    from connector.adaptation.contrastive import PretrainReport

NOTHING_HELD_OUT = (
    "Nothing was held out: these figures, by which the kept state was chosen, say nothing about rows it has not seen."
)

ROWS_HELD_OUT = (
    "Rows were held out, not groups: of what these show, other rows of the same group were learned from. Of things it "
    "has never seen, these figures say nothing."
)

GROUPS_HELD_OUT = (
    "Whole groups were held out: no row that was learned from is of the group of one of these, or has its words by the "
    "first template, or the file that it is drawn towards."
)


def write_card(spec: ContrastiveSpec, report: PretrainReport, *, title: str | None = None, more: str = "") -> str:
    """Markdown; names files without their folders."""
    tower = spec.tower.model_dump(exclude={"kind"}, exclude_none=True)
    if "source" in tower:
        # The last part of a folder or a Hugging Face id says enough; where it lies is nobody's business.
        tower["source"] = Path(tower["source"]).name
    if spec.medium == "audio":
        tower.setdefault("seconds", f"up to {SECONDS:g}")
    kind = "pretrained" if spec.tower.kind == "pretrained" else "new"
    settings = ", ".join(f"{name} {value}" for name, value in tower.items())
    encoder = Path(spec.other_encoder).name
    words = f"towards the locked vectors of the {spec.towards or 'text'} encoder `{encoder}`"
    if spec.free_text is not None:
        words = f"together with the text encoder `{encoder}`, which learned along and lies beside this one"
    return f"""# {title or f"{spec.medium.capitalize()} encoder"}

A {kind} {spec.medium} tower ({settings}), trained by symmetric InfoNCE {words}. Load it with `encoders.load(folder)`.

{_training(spec, report)}{more}"""


def write_text_card(spec: ContrastiveSpec, report: PretrainReport) -> str:
    """Markdown for the text encoder that learned along."""
    how = spec.free_text.model_dump() if spec.free_text else {}
    settings = ", ".join(f"{name} {value}" for name, value in how.items())
    return f"""# Text encoder

`{Path(spec.text_encoder).name}`, trained further ({settings}) by symmetric InfoNCE, together with the
{spec.medium} tower that lies beside it. Vectors of the two may be compared; those of the encoder it was may not. Load
it with `encoders.load(folder)`.

{_training(spec, report)}"""


def _training(spec: ContrastiveSpec, report: PretrainReport) -> str:
    sources = "\n".join(f"- `{Path(source.path).name}`: {', '.join(_other_half(source))}" for source in spec.pairs)
    what = spec.pairs[0].what
    if report.held_out:
        heading = "How well it does on the rows held out"
        note = f"{ROWS_HELD_OUT}\n\n" if any(source.group for source in spec.pairs) else ""
        note = f"{GROUPS_HELD_OUT}\n\n" if spec.hold_out == "groups" else note
    else:
        heading, note = "How well it does on rows it learned from", f"{NOTHING_HELD_OUT}\n\n"
    return f"""## Trained on

{report.pairs} pairs of {what} and {spec.pairs[0].other}, {report.held_out} held out:

{sources}

{report.steps} steps of {spec.batch_size}, AdamW at {spec.learning_rate:g}, seed {spec.seed}; the state of step \
{report.best_step} was kept.{report.resumed}

## {heading}

{note}| figure | value |
|---|---|
{figure_rows(report.metrics)}
"""


def _other_half(source: PairSource) -> tuple[str, ...]:
    return source.text if source.towards is None else (f"column {source.towards.column}",)
