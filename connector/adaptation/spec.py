"""What a contrastive pretraining job is told, as one typed record that YAML can hold."""

from __future__ import annotations

import hashlib
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from connector.errors import ConfigurationError


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PairSource(_Record):
    """One Parquet file of pictures with words.

    Attributes:
        path: the file; relative paths count from the spec's folder.
        image: column of encoded picture bytes.
        text: templates over the columns, e.g. `a photo of a {label}`; one is drawn each time a row is used, the
            first is the one validated on.
        group: columns that say which rows show the same thing; rows of one group are never each other's negatives.
            Rows with the same words are not either.
        weight: share of each batch relative to the other sources; default: by number of rows.
    """

    path: str
    image: str = "image"
    text: tuple[str, ...] = Field(min_length=1)
    group: tuple[str, ...] = ()
    weight: float | None = Field(None, gt=0)

    @field_validator("text")
    @classmethod
    def _templates(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if not columns_of(template):
                raise ValueError(f"template {template!r} names no column; write the column's name in braces")
        return templates


class NewTower(_Record):
    """A small convolutional network that starts from nothing.

    Attributes:
        image_size: height and width of its input, pixels.
        hidden_sizes: channels of each stage.
        depths: blocks of each stage.
    """

    kind: Literal["new"] = "new"
    image_size: int = Field(96, ge=16, le=512)
    hidden_sizes: tuple[int, ...] = Field((24, 48, 96, 192), min_length=1)
    depths: tuple[int, ...] = Field((1, 1, 2, 1), min_length=1)

    @model_validator(mode="after")
    def _stages(self) -> NewTower:
        if len(self.hidden_sizes) != len(self.depths) or min(*self.hidden_sizes, *self.depths, 1) < 1:
            raise ValueError("hidden_sizes and depths must be of one length and hold positive numbers")
        return self


class PretrainedTower(_Record):
    """An image encoder to train further.

    Attributes:
        source: folder (Hugging Face or tower) or Hugging Face id.
    """

    kind: Literal["pretrained"]
    source: str


class Augmentation(_Record):
    """Changes made to a training picture that leave its words true.

    Attributes:
        crop: smallest share of a side that is kept.
        flip: mirror left and right half of the time.
        brightness, contrast: largest relative change.
        turn: largest rotation, degrees.
        erase: probability that a rectangle is greyed out.
    """

    crop: float = Field(0.75, gt=0, le=1)
    flip: bool = True
    brightness: float = Field(0.2, ge=0, lt=1)
    contrast: float = Field(0.2, ge=0, lt=1)
    turn: float = Field(0.0, ge=0, le=180)
    erase: float = Field(0.0, ge=0, le=1)


class ContrastiveSpec(_Record):
    """A contrastive job: pictures are drawn towards the vectors of their words, in a locked text space.

    Attributes:
        out: folder of checkpoints, log and result (`out/tower`).
        text_encoder: its vectors stay as they are; anything `encoders.load` takes.
        steps, epochs, minutes: exactly one; how long. Only the first two give the same result twice.
        warmup: share of the job over which the learning rate rises.
        temperature: where it starts; it is learned and stays ≥ 0.01.
        validation: share of rows held out.
        evaluate_every: steps between evaluations; the best state is what is kept.
        patience: evaluations without progress after which the job stops; None never stops early.
        checkpoint_every: steps between checkpoints that `resume` continues from.
    """

    job: Literal["contrastive"] = "contrastive"
    out: str
    pairs: tuple[PairSource, ...] = Field(min_length=1)
    text_encoder: str = "text"
    tower: Annotated[NewTower | PretrainedTower, Field(discriminator="kind")] = NewTower()
    augmentation: Augmentation = Augmentation()
    batch_size: int = Field(128, ge=2, le=65536)
    steps: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    minutes: float | None = Field(None, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.05, ge=0)
    temperature: float = Field(0.07, ge=0.01, le=1)
    validation: float = Field(0.05, ge=0, lt=1)
    evaluate_every: int = Field(200, ge=1)
    patience: int | None = Field(None, ge=1)
    checkpoint_every: int = Field(200, ge=1)
    seed: int = Field(0, ge=0)
    device: str = "auto"
    weights: Literal["float16", "float32"] = "float16"

    @model_validator(mode="after")
    def _one_length(self) -> ContrastiveSpec:
        if sum(value is not None for value in (self.steps, self.epochs, self.minutes)) != 1:
            raise ValueError("give exactly one of steps, epochs and minutes")
        return self

    @property
    def hash(self) -> str:
        """Of everything but `out`, which may be moved."""
        return hashlib.sha256(self.model_dump_json(exclude={"out"}).encode()).hexdigest()


def columns_of(template: str) -> list[str]:
    """Names in braces.

    Raises:
        ValueError: a template that is not well formed, reaches into a value (`{a.b}`) or formats it.
    """
    fields = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    for name, form, conversion in fields:
        if not name or form or conversion or any(sign in name for sign in ".["):
            raise ValueError(f"template {template!r}: {{{name}}} is not a plain column name")
    return [str(name) for name, _, _ in fields]


def parse_spec(values: Any, *, where: str = "spec") -> ContrastiveSpec:
    """Check a mapping.

    Raises:
        ConfigurationError: a field unknown, missing or out of range; names the first.
    """
    try:
        return ContrastiveSpec.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "spec"
        reason = "unknown field" if first["type"] == "extra_forbidden" else first["msg"]
        raise ConfigurationError(f"{where}: {place}: {reason}") from error


def load_spec(path: str | Path, *, folder: Path | None = None) -> ContrastiveSpec:
    """Read a YAML spec; relative paths in it count from `folder`, default the spec's own.

    Raises:
        ConfigurationError: not readable, not YAML, or a field unknown, missing or out of range.
    """
    import yaml

    file = Path(path)
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: not readable as YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"{file}: expected a mapping at the top, found {type(values).__name__}")
    spec = parse_spec(values, where=str(file))
    base = folder or file.parent
    pairs = tuple(source.model_copy(update={"path": str(base / source.path)}) for source in spec.pairs)
    return spec.model_copy(update={"pairs": pairs, "out": str(base / spec.out)})
