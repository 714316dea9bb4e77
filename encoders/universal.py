"""The encoder of towers over content vectors: histories and items are given by id or by content vector."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.base import EncodeResult, Side
from encoders.content_encoder import encoder_record, recorded_encoder
from encoders.content_table import CONTENT, read_content_table
from encoders.contract import EncoderContract
from encoders.errors import EncoderLoadError, InvalidInputError
from encoders.folder import EncoderFolder
from encoders.histories import read_history, read_item
from encoders.rows import Row, RowEncoder
from encoders.runtime import Runtime
from encoders.sequence import ITEMS, bucket_of, read_items

KIND = "universal"


@dataclass(frozen=True)
class UniversalPreprocessing:
    """From ids or content vectors to the network's input.

    Attributes:
        items_sha256, content_sha256: of `items.json` and `content.safetensors`, ids and vectors by number.
        longest: how many of the newest items of a history are used.
        content: length of a content vector.
        encoder: contract of the encoder that makes content vectors, where it is known.
    """

    items_sha256: str
    content_sha256: str
    longest: int
    content: int
    encoder: EncoderContract | None = None

    @classmethod
    def of_files(
        cls, items: bytes, vectors: bytes, *, longest: int, content: int, encoder: EncoderContract | None = None
    ) -> UniversalPreprocessing:
        """For the content of the two files."""
        digests = hashlib.sha256(items).hexdigest(), hashlib.sha256(vectors).hexdigest()
        return cls(*digests, longest, content, encoder)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> UniversalPreprocessing:
        """Read `to_dict`'s form.

        Raises:
            EncoderLoadError: another record.
        """
        try:
            digests = str(record["items_sha256"]), str(record["content_sha256"])
            sizes = int(record["longest"]), int(record["content"])
        except (KeyError, TypeError, ValueError) as error:
            raise EncoderLoadError(
                "preprocessing of a universal sequence encoder lacks items_sha256, content_sha256, longest or content"
            ) from error
        found = cls(*digests, *sizes, recorded_encoder(record))
        if min(found.longest, found.content) < 1:
            raise EncoderLoadError(f"preprocessing of a universal sequence encoder: {found} has a size below 1")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; an encoder that is not known is left out, so that older folders keep their contracts."""
        record = {"kind": KIND, **asdict(self)}
        del record["encoder"]
        return record if self.encoder is None else {**record, **encoder_record(self.encoder)}


class UniversalEncoder(RowEncoder):
    """Histories (query side) and items (document side) to unit vectors of one space.

    A history is a list of ids, in any of the forms that `SequenceEncoder` takes, or of content vectors: float [n,
    content] as an array or nested lists, or `{"vectors": …}` (also as `encoders.wire.pack` writes it), oldest first. An
    item is an id, or one content vector. Ids that the encoder does not know are passed over in a history and are errors
    of their row as items: give their vectors. Content vectors are scaled to unit length.

    Args:
        contract: what the vectors are.
        preprocessing: from ids or content vectors to the network's input.
        items: ids by number, from 1 on.
        content: their content vectors at unit length, float32 [items, content].
        runtime: takes `items` int64 [n, length], `content` float32 [n, length, content] and `query` bool [n].
    """

    def __init__(
        self,
        contract: EncoderContract,
        preprocessing: UniversalPreprocessing,
        items: Sequence[str],
        content: NDArray[np.float32],
        runtime: Runtime,
    ) -> None:
        super().__init__(contract, runtime, cpu_rows=32, gpu_rows=1024)
        self._preprocessing, self._content = preprocessing, content
        self._numbers = {item: number for number, item in enumerate(items, 1)}

    @property
    def content_encoder(self) -> EncoderContract | None:
        """Contract of the encoder whose vectors are its content; None where nobody wrote it down."""
        return self._preprocessing.encoder

    @classmethod
    def from_folder(cls, folder: EncoderFolder, runtime: Runtime, **options: Any) -> UniversalEncoder:
        """Open an encoder folder on a runtime.

        Raises:
            EncoderLoadError: its items or their vectors are missing, or not those it was exported with.
        """
        preprocessing = UniversalPreprocessing.from_dict(folder.preprocessing)
        items = read_items(folder.path / ITEMS, preprocessing.items_sha256)
        content = read_content_table(folder.path / CONTENT, preprocessing.content_sha256)
        if content.shape != (len(items), preprocessing.content):
            raise EncoderLoadError(f"{folder.path}: {CONTENT} and {ITEMS} do not belong together; export it again")
        return cls(folder.contract, preprocessing, items, content, runtime, **options)

    def encode_tolerant(self, items: Sequence[Any], side: Side = "document") -> EncodeResult:
        """Encode histories (`side="query"`) or items; bad rows are reported by index and never stop the others."""
        return super().encode_tolerant([(side, item) for item in items], side)

    def prepare(self, item: Any) -> Row:
        """Side and raw input → `items` int64 [length], `content` float32 [length, content], `query` bool []."""
        side, raw = item
        found = self._item(raw) if side == "document" else self._history(raw)
        if isinstance(found, np.ndarray):
            content = self._scaled(found)
            numbers = np.full(len(content), len(self._numbers) + 1, np.int64)
        else:
            numbers = np.asarray(found, np.int64)
            content = self._content[numbers - 1]
        if side == "document" and len(numbers) != 1:
            raise InvalidInputError(f"an item is one content vector, got {len(numbers)}")
        length = self._preprocessing.longest
        numbers, content = numbers[-length:], content[-length:]
        width = 1 if side == "document" else bucket_of(len(numbers), length)
        row = np.zeros(width, np.int64)
        row[width - len(numbers) :] = numbers
        padded = np.zeros((width, self._preprocessing.content), np.float32)
        padded[width - len(numbers) :] = content
        return {"items": row, "content": padded, "query": np.asarray(side == "query")}

    def _item(self, raw: Any) -> list[int] | NDArray[np.float32]:
        name = read_item(raw)
        if not isinstance(name, str):
            return name
        if name not in self._numbers:
            raise InvalidInputError(
                f"item {name[:80]!r} was not there when the encoder was trained; give its content vector"
            )
        return [self._numbers[name]]

    def _history(self, raw: Any) -> list[int] | NDArray[np.float32]:
        history = read_history(raw)
        if history.vectors is not None:
            return history.vectors
        names = history.ids or []
        numbers = [number for name in names if (number := self._numbers.get(name)) is not None]
        if not names:
            raise InvalidInputError("the history is empty")
        if not numbers:
            raise InvalidInputError(
                f"none of the history's {len(names)} items ({names[0][:80]!r}, …) is known; give their content vectors"
            )
        return numbers

    def _scaled(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        wanted = self._preprocessing.content
        if vectors.ndim == 1:
            vectors = vectors[None]
        if vectors.ndim != 2 or vectors.shape[1] != wanted or not len(vectors):
            raise InvalidInputError(f"content vectors have {wanted} numbers each, got shape {list(vectors.shape)}")
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            raise InvalidInputError("a content vector is of zeros, or holds numbers that are not finite")
        return np.asarray(vectors / norms, np.float32)
