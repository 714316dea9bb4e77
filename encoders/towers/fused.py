"""The fused tower: the trained head over member encoders that stay as they are."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.contract import EncoderContract
from encoders.errors import EncoderLoadError
from encoders.files import new_folder
from encoders.fused import PRESENT, FusedPreprocessing
from encoders.members import MEMBERS
from encoders.towers.base import Batch, Description, Served
from encoders.towers.fusion_heads import HEADS, HeadKind
from encoders.towers.saving import Precision, load_state, read_record, save_state, write_record
from encoders.weight_files import WEIGHTS_HASH, require_weights, weights_hash

WEIGHTS = "model.safetensors"


class FusedTower(nn.Module):
    """Members' vectors to one unit vector for each item.

    Args:
        members: contracts of the member encoders, each of another modality, in the order of the inputs.
        head: `concatenation` or `gated`.
        dimension: length of a vector.
        hidden: width of the head's network.
        dropout: in it, while training.
        aligned_with: hashes of contracts whose space it was trained into.
        folders: modality → encoder folder of a member that is not shipped; kept with the tower.
    """

    def __init__(
        self,
        members: Sequence[EncoderContract],
        *,
        head: HeadKind = "gated",
        dimension: int,
        hidden: int = 256,
        dropout: float = 0.0,
        aligned_with: tuple[str, ...] = (),
        folders: Mapping[str, Path] | None = None,
    ) -> None:
        super().__init__()
        self.preprocessing = FusedPreprocessing(tuple(members))
        self.kind, self.dimension, self.hidden, self.dropout = head, dimension, hidden, dropout
        self.aligned_with = aligned_with
        self.folders = dict(folders or {})
        self.sizes = tuple(member.dimension for member in members)
        self.head = HEADS[head](self.sizes, dimension, hidden, dropout)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return self.preprocessing.modalities

    def forward(self, vectors: Sequence[Tensor], present: Tensor) -> Tensor:
        """Each float32 [n, size of the member], whatever where absent; present bool [n, members] → [n, dimension]."""
        fused: Tensor = functional.normalize(self.head(masked(vectors, present), present), dim=-1)
        return fused

    @classmethod
    def from_folder(cls, path: str | Path) -> FusedTower:
        """Load a tower folder, in float32 and evaluation mode.

        Raises:
            EncoderLoadError: not one of these, pickled weights, or weights that are not what its record says.
        """
        folder = Path(path)
        require_weights(folder)
        record = read_record(folder)
        try:
            kind, dimension, hidden = str(record["head"]), int(record["dimension"]), int(record["hidden"])
            HEADS[kind]
            aligned = tuple(str(value) for value in record["aligned_with"])
        except (KeyError, TypeError, ValueError) as error:
            raise EncoderLoadError(f"{folder}: tower.json is not that of a fused tower; train it again") from error
        if min(dimension, hidden) < 1:
            raise EncoderLoadError(f"{folder}: tower.json has a size below 1; train it again")
        tower = cls(
            FusedPreprocessing.from_dict(record).members,
            head="gated" if kind == "gated" else "concatenation",
            dimension=dimension,
            hidden=hidden,
            aligned_with=aligned,
            folders={place.name: place for place in (folder / MEMBERS).glob("*") if place.is_dir()},
        )
        load_state(tower.head, folder / WEIGHTS)
        return tower.eval()

    def save(self, path: str | Path, *, dtype: Precision = "float32", card: str | None = None) -> Path:
        """Write a tower folder, replacing one that is there, all of it or nothing.

        Args:
            dtype: of the weights on disk; they are upcast to float32 when loaded.
            card: text of README.md.
        """
        record: dict[str, Any] = {
            "modality": "fused",
            "head": self.kind,
            "dimension": self.dimension,
            "hidden": self.hidden,
            "aligned_with": list(self.aligned_with),
            **self.preprocessing.to_dict(),
        }
        with new_folder(Path(path)) as folder:
            # The hash of the file is then one of the head and of its members.
            hashes = ",".join(member.hash for member in self.preprocessing.members)
            save_state(self.head, folder / WEIGHTS, dtype, metadata={"members": hashes})
            record[WEIGHTS_HASH] = weights_hash(folder)
            for modality, source in self.folders.items():
                shutil.copytree(source, folder / MEMBERS / modality)
            write_record(folder, record, card)
        return Path(path)

    def describe(self) -> Description:
        """What its contract needs."""
        return Description(
            modality="fused",
            dimension=self.dimension,
            pooling=self.kind,
            normalized=True,
            max_input=len(self.sizes),
            preprocessing=self.preprocessing.to_dict(),
            aligned_with=self.aligned_with,
            folders={f"{MEMBERS}/{modality}": place for modality, place in self.folders.items()},
        )

    def served(self) -> Served:
        """The module that is turned into a graph: each member's vectors by name, then which are there."""
        names = (*self.modalities, PRESENT)
        return Served(ServedFusedTower(self).eval(), self._sample, {name: {0: "rows"} for name in names})

    def _sample(self, rows: int, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        batch = {
            name: functional.normalize(torch.randn(rows, size, generator=generator), dim=-1)
            for name, size in zip(self.modalities, self.sizes, strict=True)
        }
        present = torch.rand(rows, len(self.sizes), generator=generator) > 0.4
        present[torch.arange(rows), (torch.arange(rows) + seed) % len(self.sizes)] = True
        return {**batch, PRESENT: present}


class ServedFusedTower(nn.Module):
    """A fused tower that takes its inputs by position."""

    def __init__(self, tower: FusedTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, *inputs: Tensor) -> Tensor:
        """Vectors of each member float32 [n, size], then present bool [n, members] → float32 [n, dimension]."""
        *vectors, present = inputs
        fused: Tensor = self.tower(vectors, present)
        return fused


def masked(vectors: Sequence[Tensor], present: Tensor) -> list[Tensor]:
    """Unit vectors, zeros where absent."""
    return [
        functional.normalize(vector, dim=-1) * present[:, at : at + 1].to(vector.dtype)
        for at, vector in enumerate(vectors)
    ]
