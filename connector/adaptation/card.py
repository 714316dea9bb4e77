"""The card beside a trained encoder: what it was trained on, how, and how well it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from connector.adaptation.report import figure_rows
from connector.adaptation.spec import ContrastiveSpec

if TYPE_CHECKING:
    from connector.adaptation.contrastive import PretrainReport

NOTHING_HELD_OUT = (
    "Nothing was held out: these figures, by which the kept state was chosen, say nothing about rows it has not seen."
)


def write_card(spec: ContrastiveSpec, report: PretrainReport, *, title: str = "Image encoder", more: str = "") -> str:
    """Markdown; names files without their folders."""
    sources = "\n".join(f"- `{Path(source.path).name}`: {', '.join(source.text)}" for source in spec.pairs)
    tower = spec.tower.model_dump(exclude={"kind"})
    if "source" in tower:
        # The last part of a folder or a Hugging Face id says enough; where it lies is nobody's business.
        tower["source"] = Path(tower["source"]).name
    kind = "pretrained" if spec.tower.kind == "pretrained" else "new"
    what = spec.pairs[0].what
    settings = ", ".join(f"{name} {value}" for name, value in tower.items())
    if report.held_out:
        heading, note = "How well it does on the rows held out", ""
    else:
        heading, note = "How well it does on rows it learned from", f"{NOTHING_HELD_OUT}\n\n"
    return f"""# {title}

A {kind} {spec.medium} tower ({settings}), trained by symmetric InfoNCE towards the locked vectors of the text
encoder `{spec.text_encoder}`. Load it with `encoders.load(folder)`.

## Trained on

{report.pairs} pairs of {what} and words, {report.held_out} held out:

{sources}

{report.steps} steps of {spec.batch_size}, AdamW at {spec.learning_rate:g}, seed {spec.seed}; the state of step \
{report.best_step} was kept.{report.resumed}

## {heading}

{note}| figure | value |
|---|---|
{figure_rows(report.metrics)}
{more}"""
