"""What every job is told alike: where its results go, how long it runs, how carefully."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from encoders.source import DEFAULTS

# How long, how fast and where: what a resumed job may be told anew.
CHANGEABLE = (
    "steps",
    "epochs",
    "minutes",
    "learning_rate",
    "evaluate_every",
    "patience",
    "checkpoint_every",
    "device",
)


class Record(BaseModel):
    """Part of a spec: unknown fields are errors, numbers are finite, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def left_out(self, *names: str, because: str) -> None:
        """Refuse fields that would not be heeded. One with its default says nothing, so that a dump is read again.

        Raises:
            ValueError: names the first that was given.
        """
        for name in names:
            if name in self.model_fields_set and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: {because}; leave it out")


class RunSpec(Record):
    """Base of every job's spec.

    Attributes:
        out: folder of checkpoints, logs and results.
        steps, epochs, minutes: exactly one; how long. Only the first two give the same result twice.
        batch_size: rows of one process in one step.
        warmup: share of the job over which the learning rate rises.
        evaluate_every: steps between evaluations; the best state is what is kept.
        patience: evaluations without progress after which the job stops; None never stops early.
        checkpoint_every: steps between checkpoints that `resume` continues from.
        device: `auto`, `cpu`, `cuda`, …; under `accelerate launch` each process takes its own.
        weights: precision of the result on disk.
    """

    job: str
    out: str
    batch_size: int = Field(128, ge=2, le=65536)
    steps: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0, le=1e9)
    minutes: float | None = Field(None, gt=0, le=1e9)
    learning_rate: float = Field(1e-3, gt=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.05, ge=0)
    evaluate_every: int = Field(200, ge=1)
    patience: int | None = Field(None, ge=1)
    checkpoint_every: int = Field(200, ge=1)
    seed: int = Field(0, ge=0)
    device: str = "auto"
    weights: Literal["float16", "float32"] = "float16"

    @model_validator(mode="after")
    def _one_length(self) -> RunSpec:
        if sum(value is not None for value in (self.steps, self.epochs, self.minutes)) != 1:
            raise ValueError("give exactly one of steps, epochs and minutes")
        return self

    @property
    def changeable(self) -> dict[str, Any]:
        """The `CHANGEABLE` fields."""
        return self.model_dump(include=set(CHANGEABLE))

    def located(self, base: Path) -> Any:
        """The same spec, its relative paths counted from `base`."""
        return self.model_copy(update={"out": str(base / self.out)})


def located_encoder(source: str, base: Path) -> str:
    """What an encoder is loaded by: a folder counted from `base` where there is one, else a default's name or an id."""
    return str(base / source) if source not in DEFAULTS and (base / source).is_dir() else source
