"""What towers over content vectors have in common: known items, a folder, both sides in one graph."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from encoders.content_encoder import encoder_record, recorded_encoder
from encoders.content_table import CONTENT, content_file, read_content_table
from encoders.contract import EncoderContract
from encoders.errors import EncoderLoadError
from encoders.files import new_folder, write_bytes
from encoders.sequence import ITEMS, read_items
from encoders.towers.base import Batch, Description, Served
from encoders.towers.saving import Precision, load_state, read_record, save_state, write_record
from encoders.towers.sequence import items_file
from encoders.universal import UniversalPreprocessing
from encoders.weight_files import WEIGHTS_HASH, require_weights, weights_hash

WEIGHTS = "model.safetensors"


class ContentTower(nn.Module):
    """Histories of items with content, and the items, to vectors of unit length.

    Numbers count from 1 in the order of `items`; 0 is padding, `len(items) + 1` an item known by its content alone.

    Args:
        items: ids of the items it knows.
        content: their vectors at unit length, float32 [items, content].

    Attributes:
        kind: of the tower, in its record.
        pooling: in its contract.
        longest: most items of a history.
        dimension: length of a vector.
        content_encoder: contract of the encoder that made the content; None where it is not known.
    """

    kind: ClassVar[str]
    pooling: ClassVar[str]
    longest: int
    dimension: int
    content: Tensor
    content_encoder: EncoderContract | None = None

    def __init__(self, items: Sequence[str], content: NDArray[np.float32]) -> None:
        super().__init__()
        if content.ndim != 2 or len(content) != len(items):
            raise EncoderLoadError(
                f"{self.kind} tower: content of shape {content.shape} is not one vector for each of {len(items)} items"
            )
        self.items = tuple(items)
        table = np.zeros((len(items) + 2, content.shape[1]), np.float32)
        table[1:-1] = content
        # Beside the weights and not among them: another catalogue brings its own.
        self.register_buffer("content", torch.from_numpy(table), persistent=False)

    @abstractmethod
    def vectors(self, items: Tensor, content: Tensor) -> Tensor:
        """Numbers int64 […], content float32 […, content] → item vectors float32 […, dim], not scaled."""

    @abstractmethod
    def users(self, items: Tensor, content: Tensor) -> Tensor:
        """Numbers int64 [n, length], padded on the left, and content → unit user vectors float32 [n, dim]."""

    @abstractmethod
    def sizes(self) -> dict[str, Any]:
        """What its record says of it, and `of_record` reads."""

    @classmethod
    @abstractmethod
    def of_record(cls, record: dict[str, Any], items: Sequence[str], content: NDArray[np.float32]) -> Any:
        """A tower without its weights; KeyError, TypeError for another record."""

    def item_vectors(self, items: Tensor | None = None) -> Tensor:
        """Unit vectors float32 [n, dim] of known items, numbers int64 [n]; default: all, in the order of `items`."""
        if items is None:
            items = torch.arange(1, len(self.items) + 1, device=self.content.device)
        return functional.normalize(self.vectors(items, self.content[items]), dim=-1)

    def forward(self, items: Tensor) -> Tensor:
        """Numbers of known items int64 [n, length], padded on the left → user vectors float32 [n, dim]."""
        return self.users(items, self.content[items])

    @classmethod
    def from_folder(cls, path: str | Path) -> Any:
        """Load a tower folder, in float32 and evaluation mode.

        Raises:
            EncoderLoadError: not one of these, pickled weights, or weights that are not what its record says.
        """
        folder = Path(path)
        require_weights(folder)
        record = read_record(folder)
        try:
            if record["kind"] != cls.kind:
                raise KeyError(cls.kind)
            told = UniversalPreprocessing.from_dict(record["preprocessing"])
            items = read_items(folder / ITEMS, told.items_sha256)
            content = read_content_table(folder / CONTENT, told.content_sha256)
            tower = cls.of_record(record, items, content)
        except (KeyError, TypeError) as error:
            raise EncoderLoadError(f"{folder}: tower.json is not that of a {cls.kind} tower; train it again") from error
        load_state(tower, folder / WEIGHTS)
        tower.content_encoder = recorded_encoder(record)
        return tower.eval()

    def save(self, path: str | Path, *, dtype: Precision = "float32", card: str | None = None) -> Path:
        """Write a tower folder, replacing one that is there, all of it or nothing.

        Args:
            dtype: of the weights on disk; they are upcast to float32 when loaded.
            card: text of README.md.
        """
        record: dict[str, Any] = {
            "modality": "sequence",
            "kind": self.kind,
            "preprocessing": self.preprocessing.to_dict(),
            **encoder_record(self.content_encoder),
            **self.sizes(),
        }
        with new_folder(Path(path)) as folder:
            save_state(self, folder / WEIGHTS, dtype)
            for name, content in self.files.items():
                write_bytes(folder / name, content)
            record[WEIGHTS_HASH] = weights_hash(folder)
            write_record(folder, record, card)
        return Path(path)

    @property
    def files(self) -> dict[str, bytes]:
        """The known items and their content, as they lie beside the weights."""
        return {ITEMS: items_file(self.items), CONTENT: content_file(self.content[1:-1].cpu().numpy())}

    @property
    def preprocessing(self) -> UniversalPreprocessing:
        """From ids or content vectors to the network's input."""
        files = self.files
        return UniversalPreprocessing.of_files(
            files[ITEMS],
            files[CONTENT],
            longest=self.longest,
            content=self.content.shape[1],
            encoder=self.content_encoder,
        )

    def describe(self) -> Description:
        """What its contract needs."""
        return Description(
            modality="sequence",
            dimension=self.dimension,
            pooling=self.pooling,
            normalized=True,
            max_input=self.longest,
            preprocessing=self.preprocessing.to_dict(),
            files=self.files,
            metric="COSINE",
        )

    def served(self) -> Served:
        """The module that is turned into a graph: numbers, content, and for each row whether it is a history."""
        steps = {0: "rows", 1: "steps"}
        return Served(
            ServedContentTower(self).eval(), self._sample, {"items": steps, "content": steps, "query": {0: "rows"}}
        )

    def _sample(self, rows: int, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        length = min(self.longest, 2 + 3 * seed)
        items = torch.randint(1, len(self.items) + 2, (rows, length), generator=generator)
        items[:, : length // 3] = 0
        content = torch.randn(rows, length, self.content.shape[1], generator=generator)
        content = functional.normalize(content, dim=-1) * (items > 0).unsqueeze(-1)
        return {"items": items, "content": content, "query": torch.arange(rows) % 2 == seed % 2}


class ServedContentTower(nn.Module):
    """Both sides in one graph: a history becomes a user vector, a single item its own vector."""

    def __init__(self, tower: ContentTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, items: Tensor, content: Tensor, query: Tensor) -> Tensor:
        """Numbers int64 [n, length], content float32 [n, length, content], query bool [n] → float32 [n, dim]."""
        own = functional.normalize(self.tower.vectors(items[:, -1], content[:, -1]), dim=-1)
        return torch.where(query[:, None], self.tower.users(items, content), own)
