"""What the jobs around semantic ids are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from connector.adaptation.run_spec import Record, RunSpec, located_encoder
from connector.adaptation.sequences.spec import HistorySpec
from connector.adaptation.spec import columns_of


class ContentSource(Record):
    """A Parquet file of items with vectors, or with words that a text encoder turns into vectors.

    Attributes:
        path: relative paths count from the spec's folder.
        key, vector: columns of item ids and of vectors (lists of numbers, all of one length).
        text: template over the columns, e.g. `{title}. {description}`, that vectors are made of, instead of `vector`;
            an item in which all of them are empty is left out.
        encoder: that makes them; anything `encoders.load` takes as a text encoder.
    """

    path: str
    key: str = "item_id"
    vector: str = "vector"
    text: str | None = None
    encoder: str = "text"

    @model_validator(mode="after")
    def _one_kind(self) -> ContentSource:
        if self.text is None:
            self.left_out("encoder", because="encodes text, a template that is not given")
        else:
            self.left_out("vector", because="text is given, of which vectors are made")
        return self

    @field_validator("text")
    @classmethod
    def _template(cls, template: str | None) -> str | None:
        if template is not None and not columns_of(template):
            raise ValueError(f"template {template!r} names no column; write the column's name in braces")
        return template

    def located(self, base: Path) -> ContentSource:
        """The same, its relative paths counted from `base`."""
        changes = {"path": str(base / self.path), "encoder": located_encoder(self.encoder, base)}
        return self.model_copy(update=changes)


class SemanticIdsSpec(RunSpec):
    """Reconstructive: a residual-quantised autoencoder that turns an item's vector into a short id.

    Attributes:
        content: the vectors; they are scaled to unit length.
        levels, size: codes of an id, and entries of each level's codebook.
        revive: usage, as a share of an even one, below which an entry is given a new place; 0 never does.
        validation: share of items held out; what is reported of reconstruction is of them.
    """

    job: Literal["semantic_ids"]
    content: ContentSource
    levels: int = Field(3, ge=1, le=16)
    size: int = Field(64, ge=2, le=65536)
    latent: int = Field(32, ge=1, le=4096)
    hidden: int = Field(128, ge=1, le=8192)
    revive: float = Field(0.1, ge=0, lt=1)
    validation: float = Field(0.1, gt=0, lt=1)
    weights: Literal["float16", "float32"] = "float32"

    def located(self, base: Path) -> Any:
        """The same spec, its relative paths counted from `base`."""
        return self.model_copy(update={"content": self.content.located(base), "out": str(base / self.out)})


class NextSemanticIdSpec(HistorySpec):
    """Autoregressive: the semantic id of the next item, code by code, decoded over the ids that exist.

    Attributes:
        ids: `semantic_ids.parquet` as the job `semantic_ids` writes it.
        beams: ids kept at each level of the search.
    """

    job: Literal["next_semantic_id"]
    ids: str
    hidden: int = Field(64, ge=1, le=4096)
    layers: int = Field(2, ge=1, le=48)
    heads: int = Field(2, ge=1, le=64)
    longest: int = Field(50, ge=1, le=4096)
    dropout: float = Field(0.2, ge=0, lt=1)
    beams: int = Field(100, ge=20, le=10_000)
    weights: Literal["float16", "float32"] = "float32"

    @model_validator(mode="after")
    def _heads(self) -> NextSemanticIdSpec:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        return self

    def located(self, base: Path) -> Any:
        """The same spec, its relative paths counted from `base`."""
        return super().located(base).model_copy(update={"ids": str(base / self.ids)})
