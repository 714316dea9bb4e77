"""What is compared of a row: its key, its times, and its content."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connector.spaces import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from connector.stores.base import CollectionSpec
from connector.stores.columns import read_columns

KEY, EVENT, CREATED = "key", "event", "created"


def compared_columns(spec: CollectionSpec) -> list[str]:
    """Columns of a collection that a comparison reads."""
    scalars = [scalar.name for scalar in (*spec.keys, *spec.fields)]
    vector = [] if spec.vector is None else [spec.vector.name]
    return [*scalars, *vector, EVENT_TIMESTAMP, CREATED_TIMESTAMP]


def facts(spec: CollectionSpec, rows: pa.Table) -> tuple[pa.Table, pa.Array]:
    """Rows as `VectorStore.write` takes them → what is compared of each, and which of the rows those are.

    Rows of the log and of Milvus go through the same conversion, so that a difference is one of content and not of
    form: NaN is null, -0 is 0, whole numbers of any width are int64.

    Returns:
        `key` string, `event` and `created` int64 (microseconds since 1970 UTC), then the content: `c0`, `c1`, … and
        `v` (the vector's bytes); and int64 positions. Rows that the store could never hold are left out.
    """
    columns = read_columns(spec, rows)
    good = np.setdiff1d(np.arange(rows.num_rows), np.fromiter(columns.problems, dtype=np.int64))
    taken = pa.array(good)
    content: dict[str, Any] = {
        f"c{at}": _plain(columns.scalars[field.name].take(taken), field.type) for at, field in enumerate(spec.fields)
    }
    if spec.vector is not None:
        content["v"] = _bytes(columns.vectors[good])
    keys = pa.array(columns.keys, pa.string()).take(taken)
    times = {EVENT: pa.array(columns.event[good]), CREATED: pa.array(columns.created[good])}
    return pa.table({KEY: keys, **times, **content}), taken


def _plain(column: pa.Array, kind: str) -> pa.Array:
    if kind == "timestamp":
        return column.cast(pa.int64())
    if kind == "float64":
        return pc.add(column, 0.0)
    if kind == "opaque":
        return pa.array([None if value is None else _canonical(value) for value in column.to_pylist()], pa.binary())
    return column


def _canonical(value: bytes) -> bytes:
    """Maps in a Feast value may be serialised in any order."""
    from feast.protos.feast.types.Value_pb2 import Value

    ordered: bytes = Value.FromString(value).SerializeToString(deterministic=True)
    return ordered


def _bytes(vectors: np.ndarray[Any, np.dtype[np.float32]]) -> pa.Array:
    count, dimension = vectors.shape
    data = np.ascontiguousarray(vectors + np.float32(0.0))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(4 * dimension), count, [None, pa.py_buffer(data)])
