"""The sequence tower: a history of items to a user vector, in the space of the items' own vectors.

Causal it is SASRec (Kang and McAuley, ICDM 2018), trained here with the full softmax; looking both ways it is BERT4Rec
(Sun et al., CIKM 2019), where a masked step at the end of a history stands for the next item.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.errors import EncoderLoadError
from encoders.files import new_folder, write_bytes
from encoders.sequence import ITEMS, SequencePreprocessing, read_items
from encoders.towers.base import Batch, Description, Served
from encoders.towers.history import HistoryTransformer, Shape
from encoders.towers.saving import Precision, load_state, read_record, save_state, write_record
from encoders.weight_files import WEIGHTS_HASH, require_weights, weights_hash

WEIGHTS = "model.safetensors"
# Imported when met: kind in the record → class.
CONTENT_TOWERS = {
    "universal": "encoders.towers.universal:UniversalTower",
    "projected": "encoders.towers.projected:ProjectedTower",
}


class SequenceTower(nn.Module):
    """Histories of item numbers to vectors.

    Numbers count from 1 in the order of `items`; 0 is padding, and in a tower that is not causal `len(items) + 1`
    is the mask.

    Args:
        items: ids of the items it knows.
        shape: sizes; `shape.longest` counts the mask too.
        normalize: whether vectors have unit length (metric COSINE) or lengths of their own (metric IP).
    """

    def __init__(self, items: Sequence[str], shape: Shape, *, normalize: bool = True) -> None:
        super().__init__()
        self.items = tuple(items)
        self.shape, self.normalize = shape, normalize
        self.table = nn.Embedding(len(self.items) + (1 if shape.causal else 2), shape.hidden, padding_idx=0)
        nn.init.normal_(self.table.weight, std=0.02 if not normalize else shape.hidden**-0.5)
        with torch.no_grad():
            self.table.weight[0] = 0
        self.history = HistoryTransformer(shape)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.shape.hidden

    @property
    def mask(self) -> int:
        """Number that stands for an item to be guessed."""
        return len(self.items) + 1

    @property
    def longest(self) -> int:
        """Most items of a history."""
        return self.shape.longest - (0 if self.shape.causal else 1)

    def states(self, items: Tensor) -> Tensor:
        """Numbers int64 [n, length], padded on the left → states float32 [n, length, dim], in the items' space."""
        return self.scaled(self.history(self.table(items), items > 0))

    def item_vectors(self) -> Tensor:
        """Vectors of all items, float32 [items, dim], in the order of `items`."""
        return self.scaled(self.table.weight[1 : len(self.items) + 1])

    def forward(self, items: Tensor) -> Tensor:
        """Numbers int64 [n, length], padded on the left → user vectors float32 [n, dim]."""
        if not self.shape.causal:
            items = torch.cat([items, torch.full_like(items[:, :1], self.mask)], dim=1)
        return self.scaled(self.history.newest(self.table(items), items > 0))

    def scaled(self, vectors: Tensor) -> Tensor:
        """Vectors at unit length, where the tower normalises."""
        return functional.normalize(vectors, dim=-1) if self.normalize else vectors

    @classmethod
    def from_folder(cls, path: str | Path) -> Any:
        """Load a tower folder, in float32 and evaluation mode; one over content vectors is a `ContentTower`.

        Raises:
            EncoderLoadError: not one of these, pickled weights, or weights that are not what its record says.
        """
        folder = Path(path)
        require_weights(folder)
        record = read_record(folder)
        if record.get("kind") in CONTENT_TOWERS:
            module, _, name = CONTENT_TOWERS[record["kind"]].partition(":")
            return getattr(import_module(module), name).from_folder(folder)
        try:
            shape, normalize = Shape(**record["shape"]), bool(record["normalize"])
            digest = str(record["items_sha256"])
        except (KeyError, TypeError) as error:
            raise EncoderLoadError(f"{folder}: tower.json is not that of a sequence tower; train it again") from error
        tower = cls(read_items(folder / ITEMS, digest), shape, normalize=normalize)
        load_state(tower, folder / WEIGHTS)
        return tower.eval()

    def save(self, path: str | Path, *, dtype: Precision = "float32", card: str | None = None) -> Path:
        """Write a tower folder, replacing one that is there, all of it or nothing.

        Args:
            dtype: of the weights on disk; they are upcast to float32 when loaded.
            card: text of README.md.
        """
        record: dict[str, Any] = {
            "modality": "sequence",
            "shape": asdict(self.shape),
            "normalize": self.normalize,
            "items_sha256": self.preprocessing.items_sha256,
        }
        with new_folder(Path(path)) as folder:
            save_state(self, folder / WEIGHTS, dtype)
            record[WEIGHTS_HASH] = weights_hash(folder)
            write_bytes(folder / ITEMS, items_file(self.items))
            write_record(folder, record, card)
        return Path(path)

    @property
    def preprocessing(self) -> SequencePreprocessing:
        """From ids to numbers."""
        return SequencePreprocessing.of_items(items_file(self.items), self.longest)

    def describe(self) -> Description:
        """What its contract needs."""
        return Description(
            modality="sequence",
            dimension=self.dimension,
            pooling="last" if self.shape.causal else "mask",
            normalized=self.normalize,
            max_input=self.longest,
            preprocessing=self.preprocessing.to_dict(),
            files={ITEMS: items_file(self.items)},
            metric="COSINE" if self.normalize else "IP",
        )

    def served(self) -> Served:
        """The module that is turned into a graph: numbers and, for each row, whether it is a history or an item."""
        return Served(
            ServedSequenceTower(self).eval(), self._sample, {"items": {0: "rows", 1: "steps"}, "query": {0: "rows"}}
        )

    def _sample(self, rows: int, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        length = min(self.longest, 2 + 3 * seed)
        items = torch.randint(1, len(self.items) + 1, (rows, length), generator=generator)
        items[:, : length // 3] = 0
        return {"items": items, "query": torch.arange(rows) % 2 == seed % 2}


class ServedSequenceTower(nn.Module):
    """Both sides in one graph: a history becomes a user vector, a single item its own vector."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, items: Tensor, query: Tensor) -> Tensor:
        """Numbers int64 [n, length], query bool [n] → float32 [n, dim]."""
        own = self.tower.scaled(self.tower.table(items[:, -1]))
        return torch.where(query[:, None], self.tower(items), own)


def items_file(items: Sequence[str]) -> bytes:
    """Content of `items.json`."""
    return json.dumps(list(items), separators=(",", ":")).encode()
