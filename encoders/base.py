"""The Encoder contract: raw inputs in, float32 vectors out, a bad row never taking its batch with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from encoders.contract import EncoderContract
from encoders.errors import InvalidInputError

Side = Literal["document", "query"]


@dataclass
class EncodeResult:
    """Vectors of a batch and the rows that could not be encoded.

    Attributes:
        vectors: float32 [n, dimension]; rows of failed inputs are zero.
        errors: position of each failed input → reason in one line.
    """

    vectors: NDArray[np.float32]
    errors: dict[int, str] = field(default_factory=dict)

    def fill(self, rows: Sequence[int] | NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Put what a network gave for some rows in its place; what is not finite is an error of its row."""
        places = np.asarray(rows, np.int64)
        self.vectors[places] = vectors
        for row in places[~np.isfinite(vectors).all(axis=1)].tolist():
            self.vectors[row] = 0
            self.errors[row] = "the network gave numbers that are not finite for it"


class Encoder(ABC):
    """One version of one encoder, in process or on a server.

    Inputs are raw: `str` (or UTF-8 `bytes`) for text, encoded file bytes (JPEG, PNG, …) for images.
    Implementations are safe to call from several threads.
    """

    @property
    @abstractmethod
    def contract(self) -> EncoderContract:
        """What the vectors are."""

    @abstractmethod
    def encode_tolerant(self, items: Sequence[Any], side: Side = "document") -> EncodeResult:
        """Encode `items`; bad rows are reported by index and never stop the others.

        Args:
            items: n raw inputs; an empty sequence gives [0, dimension].
            side: `query` where queries and documents are encoded differently.
        """

    def encode(self, items: Sequence[Any], side: Side = "document") -> NDArray[np.float32]:
        """Encode `items` → float32 [n, dimension].

        Raises:
            InvalidInputError: the first bad row, with its index.
        """
        result = self.encode_tolerant(items, side)
        if result.errors:
            index = min(result.errors)
            raise InvalidInputError(result.errors[index], index)
        return result.vectors

    def close(self) -> None:  # noqa: B027 - most encoders hold nothing
        """Release what the encoder holds; closing twice is fine."""

    def __enter__(self) -> Encoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
