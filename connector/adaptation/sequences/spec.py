"""What the jobs over histories are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from connector.adaptation.run_spec import Record, RunSpec
from connector.evaluation.interactions import InteractionSource


class CatalogueSource(Record):
    """The Parquet file of all items there are.

    Attributes:
        path: relative paths count from the spec's folder.
        key: column of item ids.
    """

    path: str
    key: str = "item_id"


class HistorySpec(RunSpec):
    """Base of the jobs over histories.

    Attributes:
        interactions: who chose what, and when.
        catalogue: all items there are; default: those of the interactions.
        test: share of each history, its newest part, that is neither trained nor validated on but reported on.
        validation: share of what remains that is validated on, again the newest.
    """

    interactions: InteractionSource
    catalogue: CatalogueSource | None = None
    test: float = Field(0.0, ge=0, lt=1)
    validation: float = Field(0.1, gt=0, lt=1)

    def located(self, base: Path) -> Any:
        """The same spec, its relative paths counted from `base`."""
        changes: dict[str, Any] = {"out": str(base / self.out)}
        for name in ("interactions", "catalogue"):
            source = getattr(self, name)
            if source is not None:
                changes[name] = source.model_copy(update={"path": str(base / source.path)})
        return self.model_copy(update=changes)


class SequenceSpec(HistorySpec):
    """Base of the jobs whose result is a sequence encoder.

    Attributes:
        hidden: length of item and user vectors, a multiple of `heads`.
        longest: most items of a history that are used.
        normalize: unit vectors (searched by COSINE) or vectors with lengths of their own (searched by IP), in which
            how popular an item is can find a place.
        temperature: of the softmax over unit vectors, with `normalize` only; it is learned from there.
    """

    hidden: int = Field(64, ge=1, le=4096)
    layers: int = Field(2, ge=1, le=48)
    heads: int = Field(2, ge=1, le=64)
    longest: int = Field(50, ge=1, le=4096)
    dropout: float = Field(0.2, ge=0, lt=1)
    normalize: bool = False
    temperature: float = Field(0.07, ge=0.01, le=1)
    weights: Literal["float16", "float32"] = "float32"

    @model_validator(mode="after")
    def _heads(self) -> SequenceSpec:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        if not self.normalize:
            self.left_out("temperature", because="is of unit vectors, which normalize: true asks for")
        return self


class NextItemSpec(SequenceSpec):
    """Autoregressive: at every step of a history the next item, by cross-entropy over all items (SASRec)."""

    job: Literal["next_item"]


class MaskedItemSpec(SequenceSpec):
    """Reconstructive: masked items of a history, by cross-entropy over all items (BERT4Rec).

    Attributes:
        masked: share of the items that are masked.
        last: share of the histories in which the newest item alone is masked, as it is when served.
    """

    job: Literal["masked_item"]
    masked: float = Field(0.3, gt=0, lt=1)
    last: float = Field(0.3, ge=0, le=1)

    @model_validator(mode="after")
    def _masks(self) -> MaskedItemSpec:
        if self.last == 1:
            self.left_out("masked", because="with last: 1 the newest item alone is masked in every history")
        return self
