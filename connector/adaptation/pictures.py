"""Pictures at training resolution: decoded once into a memory-mapped Arrow file, so memory does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connector.errors import TrainingError

COLUMN = "pixels"


class PictureFile:
    """uint8 pictures [rows, side, side, 3] in an Arrow file that is mapped, not read.

    Raises:
        TrainingError: the file is not one that `write_pictures` made.
    """

    def __init__(self, path: Path, side: int) -> None:
        try:
            with pa.memory_map(str(path)) as mapped:
                column = pa.ipc.open_file(mapped).read_all().column(COLUMN)
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise TrainingError(f"{path}: not a picture cache; delete it and run again") from error
        size = side * side * 3
        self._parts = [
            np.frombuffer(chunk.buffers()[1], np.uint8).reshape(-1, side, side, 3)[chunk.offset :][: len(chunk)]
            for chunk in column.chunks
            if chunk.type.byte_width == size
        ]
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 [n, side, side, 3]."""
        parts = np.searchsorted(self._starts, rows, side="right") - 1
        return np.stack(
            [self._parts[p][row - self._starts[p]] for p, row in zip(parts.tolist(), rows.tolist(), strict=True)]
        )


def write_pictures(path: Path, batches: Iterator[NDArray[np.uint8]], side: int) -> None:
    """Write uint8 batches [n, side, side, 3], under a temporary name first."""
    schema = pa.schema([(COLUMN, pa.binary(side * side * 3))])
    temporary = path.with_name(f".{path.name}.writing")
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            flat = pa.py_buffer(np.ascontiguousarray(batch))
            column = pa.FixedSizeBinaryArray.from_buffers(schema.field(0).type, len(batch), [None, flat])
            writer.write_batch(pa.record_batch([column], schema=schema))
    temporary.replace(path)
