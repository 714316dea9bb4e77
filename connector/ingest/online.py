"""A view's rows in the types of its collection."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from connector.spaces import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from connector.stores.base import CollectionSpec

_TYPES = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
}

_FEAST_NAMES = {
    "Bool": "BOOL",
    "Int32": "INT32",
    "Int64": "INT64",
    "Float32": "FLOAT",
    "Float64": "DOUBLE",
    "String": "STRING",
    "Bytes": "BYTES",
    "UnixTimestamp": "UNIX_TIMESTAMP",
}


def store_rows(table: pa.Table, spec: CollectionSpec, dtypes: dict[str, str]) -> pa.Table:
    """Cast a log table to the columns of its collection; fields that the collection has and the view lacks are null.

    Args:
        dtypes: Feast type name of each field.
    """
    columns: dict[str, Any] = {}
    for field in (*spec.keys, *spec.fields):
        kind = pa.binary() if field.type == "opaque" else _TYPES[field.type]
        if field.name not in table.column_names:
            columns[field.name] = pa.nulls(table.num_rows, kind)
        elif field.type == "opaque":
            columns[field.name] = opaque_values(table.column(field.name), dtypes[field.name])
        else:
            columns[field.name] = table.column(field.name).cast(kind)
    if spec.vector is not None:
        columns[spec.vector.name] = table.column(spec.vector.name)
    columns[EVENT_TIMESTAMP] = table.column(EVENT_TIMESTAMP)
    columns[CREATED_TIMESTAMP] = table.column(CREATED_TIMESTAMP)
    return pa.table(columns)


def opaque_values(column: pa.ChunkedArray, dtype: str) -> pa.Array:
    """Cells as serialised Feast values, which is what Feast's own reads of the store expect; null stays null."""
    from feast import ValueType
    from feast.type_map import python_values_to_proto_values

    inner = dtype.removeprefix("Array(").removesuffix(")")
    kind = ValueType[_FEAST_NAMES[inner] + ("_LIST" if inner != dtype else "")]
    cells: list[bytes | None] = [None] * len(column)
    present = [(index, value) for index, value in enumerate(column.to_pylist()) if value is not None]
    protos = python_values_to_proto_values([value for _, value in present], kind)
    for (index, _), proto in zip(present, protos, strict=True):
        cells[index] = proto.SerializeToString()
    return pa.array(cells, pa.binary())
