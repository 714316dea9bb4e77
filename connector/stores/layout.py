"""How a collection lies in Milvus, the same on Milvus Lite and on every server from 2.3 on.

2.3 has no nullable columns, so every nullable scalar has a companion `_has_<field>`; it wants a vector in every
collection, so a view without one carries a constant of two dimensions. The primary key is one string.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from connector.stores.base import CollectionSpec, ScalarType
from connector.stores.specs import spec_to_json

if TYPE_CHECKING:
    from pymilvus import MilvusClient

KEY = "_key"
EVENT = "_event_ts"
CREATED = "_created_ts"
NO_VECTOR = "_no_vector"
NO_VECTOR_DIMENSION = 2
NO_CREATED = -(2**62)
"""Stands for a row without a created time; older than any."""

MAX_STRING_BYTES = 65_535
STAMP = "connector.spec"

PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,199}", re.ASCII)
EXPRESSION_WORDS = frozenset(
    {"and", "or", "not", "in", "like", "exists", "true", "false", "null", "is", "as", "escape", "count"}
    | {"array_contains", "array_contains_all", "array_contains_any", "array_length", "random_sample"}
    | {"json_contains", "json_contains_all", "json_contains_any", "text_match", "phrase_match"}
)


def column_name(field: str) -> str:
    """Milvus column of a field: its own name where Milvus takes it, else the name in hexadecimal."""
    if PLAIN_NAME.fullmatch(field) and field.lower() not in EXPRESSION_WORDS:
        return field
    return f"_x_{field.encode().hex()}"


def companion_name(field: str) -> str:
    """The boolean column that is false where `field` is null."""
    return f"_has_{column_name(field)}"


def milvus_schema(client: type[MilvusClient], spec: CollectionSpec) -> Any:
    """`CollectionSchema` of a spec."""
    from pymilvus import DataType

    types: dict[ScalarType, Any] = {
        "bool": DataType.BOOL,
        "int64": DataType.INT64,
        "float64": DataType.DOUBLE,
        "string": DataType.VARCHAR,
        "timestamp": DataType.INT64,
        "opaque": DataType.VARCHAR,
    }
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(KEY, DataType.VARCHAR, is_primary=True, max_length=MAX_STRING_BYTES)
    for scalar in (*spec.keys, *spec.fields):
        length = {"max_length": MAX_STRING_BYTES} if types[scalar.type] == DataType.VARCHAR else {}
        schema.add_field(column_name(scalar.name), types[scalar.type], **length)
    for scalar in spec.fields:
        schema.add_field(companion_name(scalar.name), DataType.BOOL)
    schema.add_field(EVENT, DataType.INT64)
    schema.add_field(CREATED, DataType.INT64)
    schema.add_field(vector_column(spec), DataType.FLOAT_VECTOR, dim=vector_dimension(spec))
    return schema


def milvus_index(client: type[MilvusClient], spec: CollectionSpec) -> Any:
    """`IndexParams` of a spec."""
    params = client.prepare_index_params()
    if spec.vector is None:
        params.add_index(NO_VECTOR, index_type="FLAT", metric_type="L2", params={})
        return params
    settings = dict(spec.vector.index)
    kind = settings.pop("index_type", "HNSW")
    params.add_index(column_name(spec.vector.name), index_type=kind, metric_type=spec.vector.metric, params=settings)
    return params


def milvus_properties(spec: CollectionSpec) -> dict[str, str]:
    """Collection properties: the stamp that `describe` reads back."""
    return {STAMP: spec_to_json(spec)}


def vector_column(spec: CollectionSpec) -> str:
    """The one vector column."""
    return NO_VECTOR if spec.vector is None else column_name(spec.vector.name)


def vector_dimension(spec: CollectionSpec) -> int:
    """Length of its vectors."""
    return NO_VECTOR_DIMENSION if spec.vector is None else spec.vector.dimension


def filter_types(spec: CollectionSpec) -> dict[str, ScalarType]:
    """Fields that a filter over this collection may name: keys, scalars that are not opaque, `event_timestamp`."""
    from connector.spaces import EVENT_TIMESTAMP

    declared = {field.name: field.type for field in (*spec.keys, *spec.fields) if field.type != "opaque"}
    return {EVENT_TIMESTAMP: "timestamp", **declared}
