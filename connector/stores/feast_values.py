"""Feast's values at the edge: protobuf values and Feast-shaped Arrow columns ↔ the columns of a collection.

Types that a collection can filter on travel typed; every other Feast type travels as its serialised protobuf value, so
that it comes back as it went in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from connector.stores.base import CollectionSpec, ScalarType
from connector.stores.filters.arrow import ARROW_TYPES

if TYPE_CHECKING:
    from feast import FeatureView
    from feast.protos.feast.types.Value_pb2 import Value

SECOND = 1_000_000

SETTERS: dict[str, str] = {
    "Bool": "bool_val",
    "Int32": "int32_val",
    "Int64": "int64_val",
    "Float32": "float_val",
    "Float64": "double_val",
    "String": "string_val",
}


def from_protos(kind: ScalarType, values: Sequence[Value | None]) -> pa.Array:
    """Protobuf values (unset or None is null) → one column."""
    if kind == "opaque":
        return pa.array(
            [None if value is None or not value.WhichOneof("val") else value.SerializeToString() for value in values],
            pa.binary(),
        )
    plain = [_plain(value) for value in values]
    if kind == "timestamp":
        return pa.array([None if v is None else v * SECOND for v in plain], pa.int64()).cast(ARROW_TYPES[kind])
    return pa.array(plain, ARROW_TYPES[kind])


def vectors_from_protos(dimension: int, values: Sequence[Value | None]) -> pa.Array:
    """Protobuf float or double lists → list<float32>, null where unset."""
    lists = [None if value is None or not value.WhichOneof("val") else _plain(value).val for value in values]
    if all(item is not None and len(item) == dimension for item in lists):
        flat = np.array(lists, dtype=np.float32).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dimension)
    return pa.array([None if item is None else list(item) for item in lists], pa.list_(pa.float32()))


def to_proto(dtype: str) -> Callable[[Any], Value]:
    """Converter of one column's Python values to protobuf values of a Feast type; None becomes an unset value."""
    from feast.protos.feast.types.Value_pb2 import DoubleList, FloatList, Value

    if dtype in SETTERS:
        setter = SETTERS[dtype]
        return lambda value: Value() if value is None else Value(**{setter: value})
    if dtype == "UnixTimestamp":
        return lambda value: Value() if value is None else Value(unix_timestamp_val=_seconds(value))
    if dtype == "vector Array(Float64)":
        return lambda value: Value() if value is None else Value(double_list_val=DoubleList(val=value))
    if dtype.startswith("vector "):
        return lambda value: Value() if value is None else Value(float_list_val=FloatList(val=value))
    return lambda value: Value() if value is None else Value.FromString(value)


def proto_types(view: FeatureView) -> dict[str, str]:
    """Feature → Feast type name as `to_proto` wants it: the vector's starts with `vector `."""
    return {f.name: f"vector {f.dtype}" if f.vector_index else str(f.dtype) for f in view.features}


def store_rows(view: FeatureView, spec: CollectionSpec, table: pa.Table) -> pa.Table:
    """A table shaped like the view's offline log → the shape `VectorStore.write` takes.

    Columns with a type of their own stay as they are; lists, maps, bytes and the like become opaque.
    """
    from feast.type_map import python_values_to_proto_values

    types = {f.name: f.dtype.to_value_type() for f in view.features}
    for field in spec.fields:
        if field.type == "opaque" and not pa.types.is_null(table.schema.field(field.name).type):
            values = table.column(field.name).to_pylist()
            column = from_protos("opaque", python_values_to_proto_values(values, types[field.name]))
            table = table.set_column(table.column_names.index(field.name), field.name, column)
    return table


def _plain(value: Value | None) -> Any:
    name = None if value is None else value.WhichOneof("val")
    return None if name is None else getattr(value, name)


def _seconds(value: Any) -> int:
    return int(value.timestamp() // 1)
