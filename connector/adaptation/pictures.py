"""Pictures or sounds as they are trained on: decoded once into a memory-mapped Arrow file, so memory does not grow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connector.errors import TrainingError
from encoders.files import new_file

COLUMN = "pixels"


class PictureFile:
    """Rows of one shape, pictures uint8 [rows, side, side, 3] for instance, in an Arrow file that is mapped, not read.

    Args:
        shape, dtype: of a row.

    Raises:
        TrainingError: the file is not one that `write_pictures` made.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: type = np.uint8) -> None:
        try:
            with pa.memory_map(str(path)) as mapped:
                column = pa.ipc.open_file(mapped).read_all().column(COLUMN)
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise TrainingError(f"{path}: not a picture cache; delete it and run again") from error
        size = _size(shape, dtype)
        self._parts: list[NDArray[Any]] = [
            np.frombuffer(chunk.buffers()[1], dtype).reshape(-1, *shape)[chunk.offset :][: len(chunk)]
            for chunk in column.chunks
            if chunk.type.byte_width == size
        ]
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Array [n, *shape]."""
        parts = np.searchsorted(self._starts, rows, side="right") - 1
        return np.stack(
            [self._parts[p][row - self._starts[p]] for p, row in zip(parts.tolist(), rows.tolist(), strict=True)]
        )


def write_pictures(path: Path, batches: Iterator[NDArray[Any]], shape: tuple[int, ...], dtype: type = np.uint8) -> None:
    """Write batches [n, *shape]; other processes may write the same file."""
    schema = pa.schema([(COLUMN, pa.binary(_size(shape, dtype)))])
    with (
        new_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for batch in batches:
            flat = pa.py_buffer(np.ascontiguousarray(batch))
            column = pa.FixedSizeBinaryArray.from_buffers(schema.field(0).type, len(batch), [None, flat])
            writer.write_batch(pa.record_batch([column], schema=schema))


def _size(shape: tuple[int, ...], dtype: type) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize
