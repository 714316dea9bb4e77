"""What the jobs over items' content are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from connector.adaptation.run_spec import RunSpec
from connector.adaptation.semantic.spec import ContentSource
from connector.adaptation.sequences.spec import HistorySpec
from connector.evaluation.interactions import InteractionSource


class CollaborativeAlignmentSpec(RunSpec):
    """Content vectors are drawn towards the collaborative vectors of the same items, by symmetric InfoNCE.

    Attributes:
        content: the items and their vectors; they may be more than there are collaborative vectors of.
        vectors: collaborative vectors, `items.parquet` of a job over histories for instance.
        interactions: or what to factorise into them: singular vectors, see `factors_of`.
        factors: how long those vectors are.
        least: interactions below which an item's factors are not learned from.
        hidden: of the network's layer between; 0 makes the projection linear.
        longest: most items of a history, whose mean is a user's vector.
        temperature: of the softmax over unit vectors; it is learned from there.
        validation: share of items held out.
    """

    job: Literal["collaborative_alignment"]
    content: ContentSource
    vectors: ContentSource | None = None
    interactions: InteractionSource | None = None
    factors: int = Field(64, ge=1, le=4096)
    least: int = Field(5, ge=1)
    hidden: int = Field(256, ge=0, le=8192)
    dropout: float = Field(0.2, ge=0, lt=1)
    longest: int = Field(50, ge=1, le=4096)
    temperature: float = Field(0.07, ge=0.01, le=1)
    validation: float = Field(0.1, gt=0, lt=1)
    weights: Literal["float16", "float32"] = "float32"

    @model_validator(mode="after")
    def _one_source(self) -> CollaborativeAlignmentSpec:
        if (self.vectors is None) == (self.interactions is None):
            raise ValueError("give either vectors or interactions")
        if self.vectors is not None:
            self.left_out("factors", "least", because="is of interactions, and vectors are given")
        return self

    def located(self, base: Path) -> Any:
        """The same spec, its relative paths counted from `base`."""
        changes: dict[str, Any] = {"out": str(base / self.out), "content": self.content.located(base)}
        if self.vectors is not None:
            changes["vectors"] = self.vectors.located(base)
        if self.interactions is not None:
            path = str(base / self.interactions.path)
            changes["interactions"] = self.interactions.model_copy(update={"path": path})
        return self.model_copy(update=changes)


class CoInteractionSpec(HistorySpec):
    """Contrastive pairs out of histories, over content vectors: items near each other, or a past and its next item.

    Attributes:
        content: the items and their vectors; they are the catalogue, and interactions with others are left out.
        pairs: `item_item`, two items of one history at most `window` steps apart; `user_item`, the mean of a history
            and the item that comes next.
        hidden: of the network's layer between; 0 makes the projection linear.
        dimension: length of the vectors that are learned.
        longest: most items of a history, whose mean is a user's vector.
        temperature: of the softmax over unit vectors; it is learned from there.
    """

    job: Literal["co_interaction"]
    content: ContentSource
    pairs: Literal["item_item", "user_item"] = "item_item"
    window: int = Field(5, ge=1)
    hidden: int = Field(256, ge=0, le=8192)
    dimension: int = Field(64, ge=1, le=4096)
    dropout: float = Field(0.2, ge=0, lt=1)
    longest: int = Field(50, ge=1, le=4096)
    temperature: float = Field(0.07, ge=0.01, le=1)
    weights: Literal["float16", "float32"] = "float32"

    @model_validator(mode="after")
    def _one_catalogue(self) -> CoInteractionSpec:
        if self.catalogue is not None:
            raise ValueError("catalogue: leave it out; the items of content are the catalogue")
        if self.pairs == "user_item":
            self.left_out("window", because="is of pairs: item_item")
        return self

    def located(self, base: Path) -> Any:
        """The same spec, its relative paths counted from `base`."""
        return super().located(base).model_copy(update={"content": self.content.located(base)})
