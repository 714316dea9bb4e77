"""Arrow columns brought to a few plain forms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pt


def plain_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One contiguous array without dictionaries, run ends, extension types or views; cells unchanged."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    kind = column.type
    if pt.is_dictionary(kind):
        return plain_array(column.dictionary_decode())
    if pt.is_run_end_encoded(kind):
        import pyarrow.compute as pc

        return plain_array(pc.run_end_decode(column))
    if kind == pa.string_view():
        return column.cast(pa.binary_view()).cast(pa.binary()).view(pa.string())
    if kind == pa.binary_view():
        return column.cast(pa.binary())
    return column


def tolerant_array(values: Sequence[Any]) -> pa.Array:
    """Python values as one array; where they have no common type, as text, which a later cast judges cell by cell."""
    try:
        return plain_array(pa.array(values, from_pandas=True))
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return pa.array([_as_bytes(value) for value in values], pa.binary()).view(pa.string())


def _as_bytes(value: Any) -> bytes | None:
    if value is None or type(value).__name__ in ("NaTType", "NAType") or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    try:
        text = json.dumps(value, default=str) if isinstance(value, (list, tuple, dict, bool)) else str(value)
    except (ValueError, TypeError, RecursionError):
        text = f"<{type(value).__name__}>"
    return text.encode("utf-8", "surrogatepass")
