"""Feast's values at the edge: protobuf values and Feast-shaped Arrow columns ↔ the columns of a collection.

Types that a collection can filter on travel typed; every other Feast type travels as its serialised protobuf value, so
that it comes back as it went in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from connector.errors import StoreError
from connector.spaces import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from connector.stores.base import CollectionSpec, ScalarType
from connector.stores.filters.arrow import ARROW_TYPES
from connector.stores.keys import KEY_TYPES

if TYPE_CHECKING:
    from feast import FeatureView, ValueType
    from feast.protos.feast.types.Value_pb2 import Value

SECOND = 1_000_000
NO_TIME = -(2**63)
"""Feast's integer for a time that is null."""

SETTERS: dict[str, str] = {
    "Bool": "bool_val",
    "Int32": "int32_val",
    "Int64": "int64_val",
    "Float32": "float_val",
    "Float64": "double_val",
    "String": "string_val",
}


KINDS: dict[ScalarType, frozenset[str]] = {
    "bool": frozenset({"bool_val"}),
    "int64": frozenset({"int32_val", "int64_val"}),
    "float64": frozenset({"float_val", "double_val", "int32_val", "int64_val"}),
    "string": frozenset({"string_val"}),
    "timestamp": frozenset({"unix_timestamp_val", "int32_val", "int64_val"}),
}
"""Protobuf's kinds of value that a column takes."""


def from_protos(kind: ScalarType, values: Sequence[Value | None]) -> pa.Array:
    """Protobuf values (None, unset or Feast's null is null) → one column.

    Raises:
        ValueError: a value of another type, or beyond its range.
    """
    if kind == "opaque":
        cells = [None if value is None or _kind(value) is None else value.SerializeToString() for value in values]
        return pa.array(cells, pa.binary())
    kinds = [_kind(value) for value in values]
    for found in set(kinds) - KINDS[kind] - {None}:
        raise ValueError(f"expected {kind}, found {found}")
    plain = [None if name is None else getattr(value, name) for name, value in zip(kinds, values, strict=True)]
    try:
        if kind == "timestamp":
            micros = [None if v is None or v == NO_TIME else v * SECOND for v in plain]
            return pa.array(micros, pa.int64()).cast(ARROW_TYPES[kind])
        return pa.array(plain, ARROW_TYPES[kind])
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())[:120]) from error


def vectors_from_protos(dimension: int, values: Sequence[Value | None]) -> pa.Array:
    """Protobuf float or double lists → list<float32>, null where unset.

    Raises:
        ValueError: a value that is not a list of numbers.
    """
    lists: list[Any] = []
    for value in values:
        kind = _kind(value)
        if kind not in (None, "float_list_val", "double_list_val"):
            raise ValueError(f"expected a list of floats, found {kind}")
        lists.append(None if kind is None else getattr(value, kind).val)
    if all(item is not None and len(item) == dimension for item in lists):
        with np.errstate(over="ignore"):  # what becomes infinite is refused by the store
            flat = np.array(lists, dtype=np.float32).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dimension)
    return pa.array([None if item is None else list(item) for item in lists], pa.list_(pa.float32()))


def to_protos(dtype: str, column: pa.ChunkedArray | pa.Array) -> list[Value]:
    """A column → protobuf values of a Feast type; null becomes an unset value.

    Raises:
        ValueError: a number beyond the range of the type.
    """
    from feast.protos.feast.types.Value_pb2 import Value

    convert = to_proto(dtype)
    if dtype == "UnixTimestamp":
        column = column.cast(pa.int64())
    return [Value() if value is None else convert(value) for value in column.to_pylist()]


def to_proto(dtype: str) -> Callable[[Any], Value]:
    """Converter of Python values, not None, to protobuf values of a Feast type. Times come in microseconds."""
    from feast.protos.feast.types.Value_pb2 import DoubleList, FloatList, Value

    if dtype in SETTERS:
        setter = SETTERS[dtype]
        return lambda value: Value(**{setter: value})
    if dtype == "UnixTimestamp":
        return lambda value: Value(unix_timestamp_val=value // SECOND)
    if dtype == "vector Array(Float64)":
        return lambda value: Value(double_list_val=DoubleList(val=value))
    if dtype.startswith("vector "):
        return lambda value: Value(float_list_val=FloatList(val=value))
    return Value.FromString  # type: ignore[no-any-return]


def proto_types(view: FeatureView) -> dict[str, str]:
    """Feature → Feast type name as `to_proto` wants it: the vector's starts with `vector `."""
    return {f.name: f"vector {f.dtype}" if f.vector_index else str(f.dtype) for f in view.features}


def store_rows(table: pa.Table, spec: CollectionSpec, dtypes: Mapping[str, str]) -> pa.Table:
    """A table shaped like a view's offline log → the columns that `VectorStore.write` takes.

    Lists, maps, bytes and the like become opaque; fields that the collection has and the table lacks are null.

    Args:
        dtypes: Feast type name of each field.
    """
    columns: dict[str, Any] = {}
    for scalar in (*spec.keys, *spec.fields):
        kind = KEY_TYPES[scalar.type] if scalar in spec.keys else ARROW_TYPES[scalar.type]
        if scalar.name not in table.column_names:
            columns[scalar.name] = pa.nulls(table.num_rows, kind)
        elif scalar.type == "opaque":
            columns[scalar.name] = _opaque(table.column(scalar.name), value_type(dtypes[scalar.name]))
        else:
            columns[scalar.name] = table.column(scalar.name)
    if spec.vector is not None:
        columns[spec.vector.name] = table.column(spec.vector.name)
    columns[EVENT_TIMESTAMP] = table.column(EVENT_TIMESTAMP)
    if CREATED_TIMESTAMP in table.column_names:
        columns[CREATED_TIMESTAMP] = table.column(CREATED_TIMESTAMP)
    return pa.table(columns)


def value_type(dtype: str) -> ValueType:
    """Feast's value type of a type name such as `Array(Int64)` or `Map`.

    Raises:
        StoreError: not the name of a Feast type.
    """
    from feast import ValueType

    known = _value_types()
    if dtype in known:
        return known[dtype]
    for start, found in (
        ("Array(Struct(", ValueType.STRUCT_LIST),
        ("Array(Array(", ValueType.VALUE_LIST),
        ("Array(Set(", ValueType.VALUE_LIST),
        ("Set(Array(", ValueType.VALUE_SET),
        ("Set(Set(", ValueType.VALUE_SET),
        ("Struct(", ValueType.STRUCT),
    ):
        if dtype.startswith(start):
            return found
    raise StoreError(f"{dtype!r} is not the name of a Feast type")


@cache
def _value_types() -> Mapping[str, ValueType]:
    from feast.types import VALUE_TYPES_TO_FEAST_TYPES

    return {str(feast_type): kind for kind, feast_type in VALUE_TYPES_TO_FEAST_TYPES.items()}


def _opaque(column: pa.ChunkedArray, kind: ValueType) -> pa.Array:
    """Cells as serialised Feast values, which is what reads through Feast expect; null stays null."""
    from feast.type_map import python_values_to_proto_values

    values = column.to_pylist()
    if pa.types.is_map(column.type):
        values = [None if value is None else dict(value) for value in values]
    cells: list[bytes | None] = [None] * len(values)
    present = [position for position, value in enumerate(values) if value is not None]
    protos = python_values_to_proto_values([values[position] for position in present], kind)
    for position, proto in zip(present, protos, strict=True):
        cells[position] = proto.SerializeToString()
    return pa.array(cells, pa.binary())


def _kind(value: Value | None) -> str | None:
    """Which of the protobuf's values is set; None where the cell is null."""
    name = None if value is None else value.WhichOneof("val")
    return None if name == "null_val" else name
