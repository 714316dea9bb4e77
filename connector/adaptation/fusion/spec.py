"""What the fusion job is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from connector.adaptation.media_spec import located_path
from connector.adaptation.run_spec import Record, RunSpec, located_encoder
from encoders.fused import MEMBER_MODALITIES

ModalityName = Literal["text", "image", "audio", "video"]


class ItemSource(Record):
    """A catalogue: Parquet, or anything else that `ingest` reads.

    Attributes:
        path: relative paths count from the spec's folder.
        group: columns that say which rows show the same thing; rows of one group are never each other's negatives, and
            rows with the same text are not either.
        media_root: a further folder that media paths may start from.
        max_media_bytes, max_text_bytes: larger inputs are left out, and counted.
    """

    path: str
    group: tuple[str, ...] = ()
    media_root: str | None = None
    max_media_bytes: int = Field(32 * 1024 * 1024, ge=1)
    max_text_bytes: int = Field(256 * 1024, ge=1)


class Member(Record):
    """One modality of an item.

    Attributes:
        encoder: what `encoders.load` takes; it stays as it is.
        columns: of the catalogue; texts are joined by newlines, of media the first that a row has is taken.
        name, version: under which the encoder is published; default: what the encoder is called, version 1.
    """

    encoder: str
    columns: tuple[str, ...] = Field(min_length=1)
    name: str | None = None
    version: int | None = Field(None, ge=1)


class FusionSpec(RunSpec):
    """Multimodal: one vector for an item, whichever of its modalities are there.

    Attributes:
        members: modality → its encoder and columns, at least two.
        head: `gated` attention over the modalities that are there, or `concatenation` behind a projection.
        towards: member in whose space the result lies, so that its encoder can search it; None: a space of its own.
        dimension: of a space of its own; default: the longest of the members'.
        hidden, dropout: of the head's network.
        keep: probability that a modality is kept in a view (modality dropout is 1 - keep).
        anchor: weight of the loss towards the vectors of `towards`, beside the loss between two views of an item.
        temperature: where it starts; it is learned and stays ≥ 0.01.
        validation: share of rows held out; whole groups, where there are groups.
    """

    job: Literal["fusion"]
    catalogue: ItemSource
    members: dict[ModalityName, Member]
    head: Literal["gated", "concatenation"] = "gated"
    towards: ModalityName | None = None
    dimension: int | None = Field(None, ge=1, le=32768)
    hidden: int = Field(256, ge=1, le=8192)
    dropout: float = Field(0.1, ge=0, lt=1)
    keep: float = Field(0.5, gt=0, lt=1)
    anchor: float = Field(0.5, ge=0)
    temperature: float = Field(0.07, ge=0.01, le=1)
    validation: float = Field(0.1, gt=0, lt=1)
    weights: Literal["float16", "float32"] = "float32"

    @model_validator(mode="after")
    def _members(self) -> FusionSpec:
        if len(self.members) < 2:
            raise ValueError(f"members: an item has two modalities or more out of {', '.join(MEMBER_MODALITIES)}")
        if self.towards is not None and self.towards not in self.members:
            raise ValueError(f"towards: {self.towards} is not one of the members ({', '.join(self.members)})")
        if self.towards is not None and self.dimension is not None:
            raise ValueError("dimension: follows from towards; leave it out")
        if self.towards is None:
            self.left_out("anchor", because="weighs the loss towards a member, and towards names none")
        return self

    def located(self, base: Path) -> Any:
        """The same spec, its relative paths counted from `base`; an encoder that is no folder there stays as named."""
        catalogue = self.catalogue
        root = None if catalogue.media_root is None else located_path(catalogue.media_root, base)
        members = {
            name: member.model_copy(update={"encoder": located_encoder(member.encoder, base)})
            for name, member in self.members.items()
        }
        found = catalogue.model_copy(update={"path": located_path(catalogue.path, base), "media_root": root})
        return self.model_copy(update={"out": str(base / self.out), "catalogue": found, "members": members})
