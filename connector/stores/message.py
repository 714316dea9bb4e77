"""Checked columns → the message that Milvus takes, column by column."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connector.stores.base import CollectionSpec, ScalarType
from connector.stores.columns import Columns, keyword_texts
from connector.stores.filters.milvus import DEFAULTS
from connector.stores.layout import CREATED, EVENT, KEY, WORDS, column_name, key_columns, null_marks, vector_column

if TYPE_CHECKING:
    from pymilvus.grpc_gen.milvus_pb2 import UpsertRequest

SLOTS: dict[ScalarType, tuple[str, str]] = {
    "bool": ("Bool", "bool_data"),
    "int64": ("Int64", "long_data"),
    "float64": ("Double", "double_data"),
    "string": ("VarChar", "string_data"),
    "timestamp": ("Int64", "long_data"),
    "opaque": ("VarChar", "string_data"),
}
"""Type of a scalar → Milvus's, and the slot of the message that holds its values."""


def upsert_request(name: str, spec: CollectionSpec, columns: Columns, chosen: NDArray[np.int64]) -> UpsertRequest:
    """The chosen rows for the collection `name`.

    pymilvus makes the same message out of one dict a row, cell by cell, at ten times the cost (docs/adr/0014).
    """
    from pymilvus.grpc_gen.milvus_pb2 import UpsertRequest

    request = UpsertRequest(collection_name=name, num_rows=len(chosen))
    _scalar(request, KEY, "string", [columns.keys[row] for row in chosen.tolist()])
    take = pa.array(chosen)
    for key in key_columns(spec):
        _scalar(request, column_name(key.name), key.type, _plain(key.type, columns.scalars[key.name].take(take)))
    marks = null_marks(spec)
    masks: dict[str, NDArray[np.int64]] = {}
    for field in spec.fields:
        column, mark = columns.scalars[field.name].take(take), marks[field.name]
        _scalar(request, column_name(field.name), field.type, _plain(field.type, column))
        null = column.is_null().to_numpy(zero_copy_only=False)
        masks[mark.column] = masks.get(mark.column, np.zeros(len(chosen), np.int64)) + null * mark.bit
    for place, mask in masks.items():
        _scalar(request, place, "int64", mask.tolist())
    _scalar(request, EVENT, "int64", columns.event[chosen].tolist())
    _scalar(request, CREATED, "int64", columns.created[chosen].tolist())
    _vectors(request, vector_column(spec), columns.vectors[chosen])
    if spec.keyword_fields:
        _scalar(request, WORDS, "string", keyword_texts(spec, columns.scalars).take(take).to_pylist())
    return request


def _scalar(request: UpsertRequest, name: str, kind: ScalarType, values: list[Any]) -> None:
    from pymilvus.grpc_gen.schema_pb2 import DataType

    milvus_type, slot = SLOTS[kind]
    field = request.fields_data.add(field_name=name, type=DataType.Value(milvus_type))
    getattr(field.scalars, slot).data.extend(values)


def _vectors(request: UpsertRequest, name: str, vectors: NDArray[np.float32]) -> None:
    from pymilvus.grpc_gen.schema_pb2 import DataType

    field = request.fields_data.add(field_name=name, type=DataType.FloatVector)
    field.vectors.dim = vectors.shape[1]
    data = np.ascontiguousarray(vectors, "<f4").tobytes()
    # The bytes of a packed `repeated float` are those of the array: read as a whole, not number by number.
    field.vectors.float_vector.MergeFromString(b"\x0a" + _varint(len(data)) + data)


def _varint(number: int) -> bytes:
    """Protocol buffers' variable-length integer (https://protobuf.dev/programming-guides/encoding)."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _plain(kind: ScalarType, column: pa.Array) -> list[Any]:
    if kind == "opaque":
        return [base64.b64encode(value or b"").decode("ascii") for value in column.to_pylist()]
    if kind == "timestamp":
        column = column.cast(pa.int64())
    values: list[Any] = pc.fill_null(column, DEFAULTS[kind]).to_pylist() if column.null_count else column.to_pylist()
    return values
