"""Encoders whose rows are prepared one by one and run together with rows of the same shape."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.base import Encoder, EncodeResult, Side
from encoders.contract import EncoderContract
from encoders.errors import InvalidInputError
from encoders.runtime import Runtime, thread_count
from encoders.workers import Workers

Row = dict[str, NDArray[Any]]


class RowEncoder(Encoder):
    """Base of encoders that turn one input into one row of arrays, whatever its neighbours are.

    Rows of different lengths are never padded to one another: each is brought to a length of its own bucket while it
    is prepared, and rows of one bucket run together. So a vector does not depend on its batch.

    Args:
        contract: what the vectors are.
        runtime: takes rows stacked along a first axis.
        cpu_rows, gpu_rows: most rows in one run.
    """

    def __init__(self, contract: EncoderContract, runtime: Runtime, *, cpu_rows: int = 8, gpu_rows: int = 64) -> None:
        self._contract = contract
        self._runtime = runtime
        self._most = gpu_rows if runtime.accelerated else cpu_rows
        # Preparing is worth threads even where one run at a time fills the device.
        self._threads = max(runtime.workers, thread_count() if runtime.accelerated else 1)
        self._workers = Workers(self._threads)

    @property
    def contract(self) -> EncoderContract:
        """What the vectors are."""
        return self._contract

    @abstractmethod
    def prepare(self, item: Any) -> Row:
        """One raw input → one row of the network's inputs, without the axis of rows.

        Raises:
            InvalidInputError: it cannot be encoded.
        """

    def encode_tolerant(self, items: Sequence[Any], side: Side = "document") -> EncodeResult:
        """Encode raw inputs; bad rows are reported by index and never stop the others."""
        result = EncodeResult(np.zeros((len(items), self._contract.dimension), np.float32))

        def run(positions: Sequence[int]) -> None:
            rows: dict[int, Row] = {}
            for position in positions:
                try:
                    rows[position] = self.prepare(items[position])
                except InvalidInputError as error:
                    result.errors[position] = error.reason
            for group in _groups(rows, self._most):
                names = rows[group[0]]
                stacked = {name: np.stack([rows[position][name] for position in group]) for name in names}
                result.fill(group, self._runtime.run(stacked))

        # Inputs of like size together: they are likely to end in one bucket.
        order = sorted(range(len(items)), key=lambda position: -_size(items[position]))
        self._workers.each(run, list(self._shares(order)))
        return result

    def _shares(self, order: Sequence[int]) -> Iterator[Sequence[int]]:
        """What the threads take one after another. On a CPU less and less of it, so that all of them end together:
        a served batch is followed by another only when its last row is done."""
        start, whole = 0, len(order)
        while start < whole:
            left = whole if self._runtime.accelerated else whole - start
            size = max(1, min(self._most, -(-left // self._threads)))
            yield order[start : start + size]
            start += size

    def close(self) -> None:
        """Release the network."""
        self._workers.close()
        self._runtime.close()


def _groups(rows: dict[int, Row], most: int) -> Iterator[list[int]]:
    """Positions of rows of the same shapes, at most `most` at once."""
    buckets: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for position, row in rows.items():
        buckets.setdefault(tuple(array.shape for array in row.values()), []).append(position)
    for positions in buckets.values():
        for start in range(0, len(positions), most):
            yield positions[start : start + most]


def _size(item: Any) -> int:
    if isinstance(item, tuple) and len(item) == 2:
        # An encoder of two sides puts the side first.
        item = item[1]
    return len(item) if isinstance(item, (bytes, bytearray, list, tuple)) else 0
