"""The sequence encoder: a history of items becomes a user vector (query side), an item its own (document side).

Both lie in one space, so that a search among the items with a user's vector finds what they may take next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoders.base import Encoder, EncodeResult, Side
from encoders.contract import EncoderContract
from encoders.errors import EncoderLoadError, InvalidInputError
from encoders.folder import EncoderFolder
from encoders.histories import read_history, read_item
from encoders.rows import Row, RowEncoder
from encoders.runtime import Runtime

ITEMS = "items.json"
NO_CONTENT = "this encoder takes item ids, not content vectors"


@dataclass(frozen=True)
class SequencePreprocessing:
    """From ids to numbers.

    Attributes:
        items_sha256: of `items.json`, the ids by number.
        longest: how many of the newest items of a history are used.
    """

    items_sha256: str
    longest: int

    @classmethod
    def of_items(cls, content: bytes, longest: int) -> SequencePreprocessing:
        """For the content of an `items.json`."""
        return cls(hashlib.sha256(content).hexdigest(), longest)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SequencePreprocessing:
        """Read `to_dict`'s form.

        Raises:
            EncoderLoadError: another record.
        """
        try:
            found = cls(str(record["items_sha256"]), int(record["longest"]))
        except (KeyError, TypeError, ValueError) as error:
            raise EncoderLoadError("preprocessing of a sequence encoder lacks items_sha256 or longest") from error
        if found.longest < 1:
            raise EncoderLoadError(f"preprocessing of a sequence encoder: longest is {found.longest}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    def bucket(self, length: int) -> int:
        """Length that a history of `length` items is padded to."""
        return bucket_of(length, self.longest)


class SequenceEncoder(RowEncoder):
    """Histories (query side) and items (document side) to vectors of one space.

    A history is a list of item ids, oldest first, a mapping `{"items": ids}`, or bytes: a JSON array, or the mapping as
    `encoders.wire.pack` writes it; a single id is a history of one item. Its newest items are used; ids that the
    encoder was not trained on are passed over, and a history of nothing else is an error of its row. An item is an id.
    Ids are text, UTF-8 bytes or whole numbers (`encoders.histories` names every form).

    Args:
        contract: what the vectors are.
        preprocessing: from ids to numbers.
        items: ids by number, from 1 on.
        runtime: takes `items` int64 [n, length] and `query` bool [n].
    """

    def __init__(
        self, contract: EncoderContract, preprocessing: SequencePreprocessing, items: Sequence[str], runtime: Runtime
    ) -> None:
        super().__init__(contract, runtime, cpu_rows=32, gpu_rows=1024)
        self._preprocessing = preprocessing
        self._numbers = {item: number for number, item in enumerate(items, 1)}

    @classmethod
    def from_folder(cls, folder: EncoderFolder, runtime: Runtime, **options: Any) -> Encoder:
        """Open an encoder folder on a runtime; one of content vectors opens as a `UniversalEncoder`.

        Raises:
            EncoderLoadError: its list of items is missing or not the one it was exported with.
        """
        if folder.preprocessing.get("kind") == "universal":
            from encoders.universal import UniversalEncoder

            return UniversalEncoder.from_folder(folder, runtime, **options)
        preprocessing = SequencePreprocessing.from_dict(folder.preprocessing)
        items = read_items(folder.path / ITEMS, preprocessing.items_sha256)
        return cls(folder.contract, preprocessing, items, runtime, **options)

    def encode_tolerant(self, items: Sequence[Any], side: Side = "document") -> EncodeResult:
        """Encode histories (`side="query"`) or items; bad rows are reported by index and never stop the others."""
        return super().encode_tolerant([(side, item) for item in items], side)

    def prepare(self, item: Any) -> Row:
        """Side and raw input → `items` int64 [length], `query` bool []."""
        side, raw = item
        if side == "document":
            numbers = [self._number(raw)]
            width = 1
        else:
            numbers = self._history(raw)
            width = self._preprocessing.bucket(len(numbers))
        row = np.zeros(width, np.int64)
        row[width - len(numbers) :] = numbers
        return {"items": row, "query": np.asarray(side == "query")}

    def _number(self, raw: Any) -> int:
        name = read_item(raw)
        if not isinstance(name, str):
            raise InvalidInputError(NO_CONTENT)
        if name not in self._numbers:
            raise InvalidInputError(f"item {name[:80]!r} was not there when the encoder was trained")
        return self._numbers[name]

    def _history(self, raw: Any) -> list[int]:
        names = read_history(raw).ids
        if names is None:
            raise InvalidInputError(NO_CONTENT)
        numbers = [number for name in names if (number := self._numbers.get(name)) is not None]
        if not names:
            raise InvalidInputError("the history is empty")
        if not numbers:
            raise InvalidInputError(
                f"none of the history's {len(names)} items ({names[0][:80]!r}, …) was there in training"
            )
        return numbers[-self._preprocessing.longest :]


def bucket_of(length: int, longest: int) -> int:
    """Length that a history of `length` items is padded to: the next power of two from 8 on, at most `longest`."""
    return min(longest, max(8, 1 << (length - 1).bit_length()))


def read_items(path: Path, digest: str) -> list[str]:
    """Ids by number, out of `items.json`.

    Raises:
        EncoderLoadError: it is missing, or not the file whose sha256 is `digest`.
    """
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        raise EncoderLoadError(
            f"{path}: is missing or was changed after the training; train or export the encoder again"
        )
    return [str(item) for item in json.loads(content)]
