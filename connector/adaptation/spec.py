"""What a contrastive pretraining job is told, as one typed record that YAML can hold; reading specs of every job."""

from __future__ import annotations

from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from connector.adaptation.media_spec import MediaCatalogue
from connector.adaptation.run_spec import Record, RunSpec, located_encoder
from connector.adaptation.sound_spec import NewAudioTower, SoundAugmentation
from connector.errors import ConfigurationError

if TYPE_CHECKING:
    from connector.adaptation.jobs import JobSpec


Trained = Literal["image", "audio", "video"]
MEDIUMS: tuple[Trained, ...] = ("image", "audio", "video")
WHAT: dict[Trained, str] = {"image": "picture", "audio": "sound", "video": "film"}
# What follows the name of a tower in the name of the text encoder that learned along with it.
TEXT_SUFFIX = "_text"


class Towards(Record):
    """What rows are drawn towards instead of words: one column of other media.

    Attributes:
        image, audio, video: the column; one of them is given.
    """

    image: str | None = None
    audio: str | None = None
    video: str | None = None

    @property
    def medium(self) -> Trained:
        """What the column holds."""
        return next(name for name in MEDIUMS if getattr(self, name) is not None)

    @property
    def what(self) -> str:
        """One of them, for people."""
        return WHAT[self.medium]

    @property
    def column(self) -> str:
        """Its name."""
        column: str = getattr(self, self.medium)
        return column

    @model_validator(mode="after")
    def _one_column(self) -> Towards:
        if sum(getattr(self, name) is not None for name in MEDIUMS) != 1:
            raise ValueError(f"name one column, as {' or '.join(MEDIUMS)}")
        return self


class PairSource(MediaCatalogue):
    """One catalogue of pictures, of sounds or of films, with words, or with media of another kind.

    Attributes:
        image, audio, video: column of pictures, or of sounds or films where one of these is given: encoded bytes, paths
            or URLs.
        text: templates over the columns, e.g. `a photo of a {label}`; one is drawn each time a row is used, the
            first is the one validated on. Needed without `towards`.
        towards: where the rows' other half is no words.
        group: columns that say which rows show the same thing; rows of one group are never each other's negatives.
            Rows with the same words (or the same file to be drawn towards) are not either.
        weight: share of the batches' rows relative to the other sources; default: by number of rows. A share below one
            row of a batch comes in some batches and not in others.
    """

    image: str = "image"
    audio: str | None = None
    video: str | None = None
    text: tuple[str, ...] = ()
    towards: Towards | None = None
    group: tuple[str, ...] = ()
    weight: float | None = Field(None, gt=0)

    @property
    def medium(self) -> Trained:
        """What its rows are."""
        return "audio" if self.audio is not None else "image" if self.video is None else "video"

    @property
    def what(self) -> str:
        """One of them, for people."""
        return WHAT[self.medium]

    @property
    def other(self) -> str:
        """What the other half of a pair is, for people."""
        return "words" if self.towards is None else self.towards.what

    @property
    def column(self) -> str:
        """The column of the media."""
        return self.audio or self.video or self.image

    @model_validator(mode="after")
    def _one_column(self) -> PairSource:
        if self.medium != "image":
            self.left_out("image", because=f"a source of {self.what}s ({self.medium}) holds no pictures")
        if self.audio is not None and self.video is not None:
            raise ValueError("audio and video: a source holds sounds or films; give two sources to two jobs")
        return self

    @model_validator(mode="after")
    def _other_half(self) -> PairSource:
        if self.towards is None and not self.text:
            raise ValueError("text: a source needs words, as templates over its columns, or else `towards`")
        if self.towards is not None:
            self.left_out("text", because="rows are drawn towards one thing, and `towards` names another")
            if self.towards.column == self.column:
                raise ValueError(f"towards: column {self.column!r} is what the rows themselves are; name another")
            if self.towards.medium == self.medium:
                raise ValueError(f"towards: these are {self.what}s already; name a column of another kind")
        return self

    @field_validator("text")
    @classmethod
    def _templates(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if not columns_of(template):
                raise ValueError(f"template {template!r} names no column; write the column's name in braces")
        return templates


class NewTower(Record):
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


class PretrainedTower(Record):
    """An encoder of pictures or sounds to train further.

    Attributes:
        source: folder (Hugging Face or tower) or Hugging Face id; relative folders count from the spec's folder.
        freeze: parameters that stay as they are, as patterns of their names: `backbone.layer.[0-9].*`. Parts in which
            nothing learns stay in evaluation mode (no dropout).
        keep_statistics: batch normalisation goes on with the means and variances it came with. They are worth
            keeping where batches are small or mix several kinds of pictures.
        train_size: height and width of the pictures while it is trained, pixels; default: those it takes. Smaller is
            faster, and, because crops enlarge what they show, often no worse (Touvron et al. 2019). Not for sounds.
        seconds: of the start of each sound that are trained and validated on, at most what the encoder hears; default:
            four, or all that it hears where that is less.
        augmentation: of sounds that the network takes as spectrograms; default: that of a new tower. Those that take
            the wave mask as their own configuration says (`apply_spec_augment`).
    """

    kind: Literal["pretrained"]
    source: str
    freeze: tuple[str, ...] = ()
    keep_statistics: bool = False
    train_size: int | None = Field(None, ge=16, le=1024)
    seconds: float | None = Field(None, ge=0.32, le=600)
    augmentation: SoundAugmentation | None = None

    def refuse_sound_fields(self, what: str) -> None:
        """Refuse what only towers of sounds heed.

        Args:
            what: one of those that the job is over, for people.

        Raises:
            ValueError: names the first field that was given.
        """
        for name in ("seconds", "augmentation"):
            if getattr(self, name) is not None:
                raise ValueError(f"tower.{name}: is of sounds, and the job is over {what}s; leave it out")

    def located(self, base: Path) -> PretrainedTower:
        """The same, its folder counted from `base` where there is one."""
        return self.model_copy(update={"source": located_encoder(self.source, base)})


class Augmentation(Record):
    """Changes made to a training picture that leave its words true.

    Attributes:
        crop: smallest share of a side that is kept.
        flip: mirror left and right half of the time.
        brightness, contrast: largest relative change.
        turn: largest rotation, degrees.
        erase: probability that a rectangle is greyed out.
        saturation: largest relative change of the colours' strength.
        hue: largest turn of the colours around the grey axis, degrees either way; what is light stays as light.
        grey: probability that all colour is taken away.
    """

    crop: float = Field(0.75, gt=0, le=1)
    flip: bool = True
    brightness: float = Field(0.2, ge=0, lt=1)
    contrast: float = Field(0.2, ge=0, lt=1)
    turn: float = Field(0.0, ge=0, le=180)
    erase: float = Field(0.0, ge=0, le=1)
    saturation: float = Field(0.0, ge=0, le=1)
    hue: float = Field(0.0, ge=0, le=180)
    grey: float = Field(0.0, ge=0, le=1)


class Refit(Record):
    """The last layer fitted anew when training is over, in closed form, onto the first words of each row.

    Attributes:
        rows: how many rows it is fitted on, drawn from the sources in the shares that batches have.
        strength: of the ridge.
    """

    rows: int = Field(5000, ge=2)
    strength: float = Field(100.0, gt=0)


class FreeText(Record):
    """The text encoder learns too.

    Attributes:
        rate: its learning rate as a share of the job's; words that were learned from much text are soon forgotten.
        freeze: its parameters that stay as they are, as patterns of their names: `backbone.embeddings.*`.
    """

    rate: float = Field(0.1, gt=0, le=1)
    freeze: tuple[str, ...] = ()


class ContrastiveSpec(RunSpec):
    """A contrastive job: media are drawn towards the vectors of their words, in a text space that is locked or free, or
    towards those of media of another kind, in the space of a locked encoder (ImageBind: Girdhar et al., CVPR 2023).

    Attributes:
        out: its result lies in `out/tower`, and a text encoder that learned along in `out/text`.
        text_encoder: anything `encoders.load` takes; with `free_text`, no exported encoder.
        free_text: where it is given, the text encoder learns too, and both end in a space of their own. Without, its
            vectors stay as they are, and what is learned lies in its space.
        towards_encoder: of the media that `pairs` name as `towards`, in place of the text encoder: anything
            `encoders.load` takes; default: the default encoder of that kind. Its vectors stay as they are.
        tower: over films, a `new` one sees each frame, and the frames' vectors are averaged.
        augmentation: of pictures, and of films, whose frames are all changed alike; what is done to sounds is said in
            `tower`.
        temperature: where it starts; it is learned and stays ≥ 0.01.
        validation: share of rows held out.
        hold_out: `rows`, or `groups`: no row learned from is of the group of one held out, or has its words (by the
            first template) or its file to be drawn towards. So many whole groups as the share has room for, but one.
        refit: pictures only; leaves the last layer as it was trained where it is not given.
    """

    job: Literal["contrastive"] = "contrastive"
    pairs: tuple[PairSource, ...] = Field(min_length=1)
    text_encoder: str = "text"
    towards_encoder: str | None = None
    free_text: FreeText | None = None
    tower: Annotated[NewTower | NewAudioTower | PretrainedTower, Field(discriminator="kind")] = NewTower()
    augmentation: Augmentation = Augmentation()
    temperature: float = Field(0.07, ge=0.01, le=1)
    validation: float = Field(0.05, ge=0, lt=1)
    hold_out: Literal["rows", "groups"] = "rows"
    refit: Refit | None = None

    @model_validator(mode="after")
    def _one_medium(self) -> ContrastiveSpec:
        mediums = {source.medium for source in self.pairs}
        needed = {"new": ("image", "video"), "new_audio": ("audio",)}.get(self.tower.kind, MEDIUMS)
        if len(mediums) > 1 or not mediums <= set(needed):
            taken = "one kind" if needed == MEDIUMS else " or ".join(needed)
            raise ValueError(f"pairs are of {' and '.join(sorted(mediums))}; tower {self.tower.kind} takes {taken}")
        self._require_one_other()
        if not self.validation:
            self.left_out("hold_out", because="validation is 0, so nothing is held out")
        if self.refit is not None and mediums != {"image"}:
            raise ValueError("refit is for pictures; leave it out")
        if mediums == {"audio"}:
            self.left_out("augmentation", because="is of pictures; sounds are changed by that of the tower")
        elif isinstance(self.tower, PretrainedTower):
            self.tower.refuse_sound_fields(self.pairs[0].what)
        return self

    def _require_one_other(self) -> None:
        others = sorted({source.other for source in self.pairs})
        if len(others) > 1:
            raise ValueError(f"pairs are drawn towards {' and '.join(others)}; give each kind to a job of its own")
        if self.towards is None:
            self.left_out("towards_encoder", because="no pairs have `towards`; words are encoded by text_encoder")
        else:
            self.left_out("text_encoder", "free_text", because=f"pairs are drawn towards {others[0]}s, not words")

    @property
    def medium(self) -> Trained:
        """What is trained on."""
        return self.pairs[0].medium

    @property
    def towards(self) -> Trained | None:
        """Kind of the media that it is drawn towards; None for words."""
        towards = self.pairs[0].towards
        return None if towards is None else towards.medium

    @property
    def other_encoder(self) -> str:
        """The encoder of the other half: of words, or of what pairs name as `towards`."""
        return self.text_encoder if self.towards is None else self.towards_encoder or self.towards

    @property
    def makes(self) -> dict[str, str]:
        """Modalities of the encoders that the job ends in, by what follows their name in a model repository."""
        made: dict[str, str] = {"": self.medium}
        return made if self.free_text is None else {**made, TEXT_SUFFIX: "text"}

    def located(self, base: Path) -> ContrastiveSpec:
        """The same spec, its relative paths counted from `base`."""
        pairs = tuple(source.located(base) for source in self.pairs)
        tower = self.tower.located(base) if isinstance(self.tower, PretrainedTower) else self.tower
        other = None if self.towards_encoder is None else located_encoder(self.towards_encoder, base)
        changes = {
            "pairs": pairs,
            "tower": tower,
            "text_encoder": located_encoder(self.text_encoder, base),
            "towards_encoder": other,
            "out": str(base / self.out),
        }
        return self.model_copy(update=changes)


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


def parse_spec(values: Any, *, where: str = "spec") -> JobSpec:
    """Check a mapping; its `job` says which spec it is, `contrastive` where it is left out.

    Raises:
        ConfigurationError: a job that does not exist, or a field unknown, missing or out of range; names the first.
    """
    from connector.adaptation.jobs import SPECS

    if isinstance(values, dict):
        values = {"job": "contrastive", **values}
    try:
        return SPECS.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        # The first part says which of the jobs it was.
        place = ".".join(str(part) for part in first["loc"][1:]) or ("job" if "tag" in first["type"] else "spec")
        reason = "unknown field" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{where}: {place}: {reason}") from error


def load_spec(path: str | Path, *, folder: Path | None = None) -> JobSpec:
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
    spec: JobSpec = parse_spec(values, where=str(file)).located(folder or file.parent)
    return spec
