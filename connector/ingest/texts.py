"""Text inputs: the catalogue columns of a text space, joined row by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from connector.ingest.batch import Problem, shown
from connector.ingest.cells import is_text


def read_texts(
    columns: dict[str, pa.Array], inputs: Sequence[str], candidates: NDArray[np.int64], max_bytes: int
) -> tuple[list[str | None], list[Problem]]:
    """One text for each candidate row.

    Args:
        columns: of the batch; inputs it lacks count as null.
        inputs: columns to join by newlines, nulls and blanks left out. Lists of text are joined by commas, numbers
            and times are written out.
        max_bytes: longer joined texts are problems.

    Returns:
        text of each candidate, None where there is none or it is a problem; and the problems, by row of the batch.
    """
    present = [(name, _cells(columns[name].take(pa.array(candidates)))) for name in inputs if name in columns]
    texts: list[str | None] = []
    problems: list[Problem] = []
    for at, row in enumerate(candidates.tolist()):
        parts: list[str] = []
        fault: Problem | None = None
        for name, cells in present:
            part = cells[at]
            if isinstance(part, _Fault):
                fault = fault or Problem(row, "bad text", part.reason, name)
            elif part is not None and part.strip():
                parts.append(part)
        text = "\n".join(parts)
        size = len(text) if text.isascii() else len(text.encode())
        if fault is None and size > max_bytes:
            reason = f"text of {size:,} bytes, over {max_bytes:,} (ingest.max_text_bytes)"
            fault = Problem(row, "text too long", reason, ",".join(name for name, _ in present))
        if fault is not None:
            problems.append(fault)
        texts.append(text if text and fault is None else None)
    return texts, problems


class _Fault:
    def __init__(self, reason: str) -> None:
        self.reason = reason


def _cells(column: pa.Array) -> list[str | _Fault | None]:
    kind = column.type
    if pt.is_string(kind) or pt.is_large_string(kind):
        try:
            texts: list[str | _Fault | None] = column.to_pylist()
        except UnicodeDecodeError:
            texts = [_decoded(scalar.as_buffer()) for scalar in column]
        return texts
    if is_text(kind):
        return [_decoded(scalar.as_buffer()) for scalar in column]
    if pt.is_struct(kind) or pt.is_map(kind):
        return [_Fault(f"a {kind} is no text") if valid else None for valid in column.is_valid().to_pylist()]
    return [_written(scalar) for scalar in column]


def _decoded(buffer: pa.Buffer | None) -> str | _Fault | None:
    if buffer is None:
        return None
    data: bytes = buffer.to_pybytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _Fault(f"not UTF-8: {shown(data)}")


def _written(scalar: pa.Scalar) -> str | _Fault | None:
    try:
        value = scalar.as_py()
    except (ValueError, OverflowError):
        return _Fault(f"a {scalar.type} that cannot be read")
    if value is None or value != value:
        return None
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value if item is not None)
    return str(value)
