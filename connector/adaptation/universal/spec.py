"""What the universal sequence job is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from connector.adaptation.semantic.spec import ContentSource
from connector.adaptation.sequences.spec import HistorySpec

# Of the transformer and the adaptor that `initial` brings; given beside it they must agree with it.
SIZES = ("hidden", "layers", "heads", "longest")


class UniversalSequenceSpec(HistorySpec):
    """Histories of frozen content vectors through an adaptor and a causal transformer (UniSRec: Hou et al., KDD 2022).

    Attributes:
        content: the items and their vectors; they are the catalogue, and interactions with others are left out.
        hidden: length of item and user vectors, a multiple of `heads`; both have unit length.
        experts: whitenings that the adaptor mixes.
        noisy: whether the adaptor's gate is disturbed in training.
        ids: whether known items add a vector of their own (transductive); without, content is all there is (inductive).
        negatives: items that a step's next item is told from: those that come next in the `batch`, or `all` there are.
        contrast: weight of the loss that draws a history towards its changed self; 0 leaves it out.
        item_drop, value_drop: share of items, or of a content vector's numbers, that the changed history lacks.
        initial: folder of a tower that this job wrote, for another catalogue perhaps, to go on from. Sizes are its own.
        learn: `all`, or only the `adaptor` (and id vectors); the transformer stays as `initial` has it.
        temperature: of the softmax over unit vectors.
    """

    job: Literal["universal_sequence"]
    content: ContentSource
    hidden: int = Field(64, ge=1, le=4096)
    layers: int = Field(2, ge=1, le=48)
    heads: int = Field(2, ge=1, le=64)
    longest: int = Field(50, ge=1, le=4096)
    dropout: float = Field(0.2, ge=0, lt=1)
    experts: int = Field(8, ge=1, le=256)
    noisy: bool = True
    ids: bool = False
    negatives: Literal["batch", "all"] = "batch"
    contrast: float = Field(0.001, ge=0)
    item_drop: float = Field(0.2, ge=0, lt=1)
    value_drop: float = Field(0.2, ge=0, lt=1)
    initial: str | None = None
    learn: Literal["all", "adaptor"] = "all"
    temperature: float = Field(0.07, ge=0.01, le=1)
    weights: Literal["float16", "float32"] = "float32"

    @model_validator(mode="after")
    def _agree(self) -> UniversalSequenceSpec:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        if self.learn == "adaptor" and self.initial is None:
            raise ValueError("learn: adaptor needs an initial tower, whose transformer stays as it is")
        if self.catalogue is not None:
            raise ValueError("catalogue: leave it out; the items of content are the catalogue")
        if not self.contrast:
            self.left_out("item_drop", "value_drop", because="is of the second loss, which contrast: 0 leaves out")
        return self

    def located(self, base: Path) -> Any:
        """The same spec, its relative paths counted from `base`."""
        changes: dict[str, Any] = {"content": self.content.located(base)}
        if self.initial is not None:
            changes["initial"] = str(base / self.initial)
        return super().located(base).model_copy(update=changes)
