"""How a collection lies in Milvus, the same on Milvus Lite and on every server from 2.3 on.

2.3 has no nullable columns, so a null is the type's default value with its bit set in a `_nulls_<fields>_<n>` column.
`<fields>` stands for the collection's fields: who knows an alias's earlier collection, with other fields, is refused
instead of taking one field's bit for another's. Milvus's filters know no bit operations, but the few masks with that
bit set can be compared with or listed: six fields share a column, and a column less for each field is time saved on
every row written. 2.3 also wants a vector in every collection, so a view without one carries a constant of two
dimensions. The primary key is one string.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from connector.stores.base import CollectionSpec, ScalarField, ScalarType
from connector.stores.specs import spec_to_json

if TYPE_CHECKING:
    from pymilvus import MilvusClient

KEY = "_key"
EVENT = "_event_ts"
CREATED = "_created_ts"
NO_VECTOR = "_no_vector"
NO_VECTOR_DIMENSION = 2
WORDS = "_words"
"""The texts of the keyword fields, a line each, as the server's analyzer reads them."""
BM25 = "_bm25"
"""What the server makes of `WORDS`: a sparse vector."""
NO_CREATED = -(2**62)
"""Stands for a row without a created time; older than any."""

MAX_STRING_BYTES = 65_535
STAMP = "connector.spec"
RECORD = "connector.record"
NULLS_IN_COLUMN = 6
MOST_RANGES = 4

PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,199}", re.ASCII)
EXPRESSION_WORDS = frozenset(
    {"and", "or", "not", "in", "like", "exists", "true", "false", "null", "is", "as", "escape", "count"}
    | {"array_contains", "array_contains_all", "array_contains_any", "array_length", "random_sample"}
    | {"json_contains", "json_contains_all", "json_contains_any", "text_match", "phrase_match"}
)


@lru_cache(maxsize=4096)
def column_name(field: str) -> str:
    """Milvus column of a field: its own name where Milvus takes it, else the name in hexadecimal."""
    if PLAIN_NAME.fullmatch(field) and field.lower() not in EXPRESSION_WORDS:
        return field
    return f"_x_{field.encode().hex()}"


@dataclass(frozen=True)
class NullMark:
    """Where a field's nulls are marked.

    Attributes:
        column: Milvus column of the mask.
        bit: the field's bit in it.
        masks: masks there can be in the column: 2 to the number of fields that share it.
    """

    column: str
    bit: int
    masks: int

    def condition(self, null: bool) -> str:
        """Milvus condition that the field is null, or is not.

        The masks with a bit lie in ranges of as many as the bit says. A comparison costs Milvus a fraction of a
        membership, so a few ranges are compared, and many are listed.
        """
        starts = range(self.bit if null else 0, self.masks, 2 * self.bit)
        if len(starts) > MOST_RANGES:
            return f"{self.column} in {[mask for start in starts for mask in range(start, start + self.bit)]}"
        ranges = [self._range(start, start + self.bit) for start in starts]
        return ranges[0] if len(ranges) == 1 else f"({' or '.join(f'({one})' for one in ranges)})"

    def _range(self, start: int, stop: int) -> str:
        """Condition that the mask is one of start … stop - 1; no mask is below 0 or above the last."""
        if stop - start == 1:
            return f"{self.column} == {start}"
        bounds = [f"{self.column} >= {start}"] * (start > 0) + [f"{self.column} < {stop}"] * (stop < self.masks)
        return " and ".join(bounds)


def null_marks(spec: CollectionSpec) -> Mapping[str, NullMark]:
    """Field → where its nulls are marked, in the order of the fields."""
    return _null_marks(tuple([(field.name, field.type) for field in spec.fields]))


@lru_cache(maxsize=1024)
def _null_marks(fields: tuple[tuple[str, str], ...]) -> Mapping[str, NullMark]:
    marks: dict[str, NullMark] = {}
    known = hashlib.sha256(repr(fields).encode()).hexdigest()[:8]
    for position, (field, _) in enumerate(fields):
        first = position - position % NULLS_IN_COLUMN
        shared = min(NULLS_IN_COLUMN, len(fields) - first)
        column = f"_nulls_{known}_{position // NULLS_IN_COLUMN}"
        marks[field] = NullMark(column, 1 << (position - first), 1 << shared)
    return MappingProxyType(marks)


def key_columns(spec: CollectionSpec) -> tuple[ScalarField, ...]:
    """Join keys with a column of their own: all but a single string, which is the primary key itself."""
    return () if [key.type for key in spec.keys] == ["string"] else spec.keys


def filter_column(spec: CollectionSpec, field: str) -> str:
    """Milvus column that a filter on `field` reads."""
    if any(field == scalar.name for scalar in (*key_columns(spec), *spec.fields)):
        return column_name(field)
    return KEY if any(field == key.name for key in spec.keys) else EVENT


def milvus_schema(client: type[MilvusClient], spec: CollectionSpec) -> Any:
    """`CollectionSchema` of a spec."""
    from pymilvus import DataType, Function, FunctionType

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
    for scalar in (*key_columns(spec), *spec.fields):
        options: dict[str, Any] = {}
        if types[scalar.type] == DataType.VARCHAR:
            options["max_length"] = MAX_STRING_BYTES
        if scalar.name == spec.partition_key:
            options["is_partition_key"] = True
        schema.add_field(column_name(scalar.name), types[scalar.type], **options)
    for column in dict.fromkeys(mark.column for mark in null_marks(spec).values()):
        schema.add_field(column, DataType.INT64)
    schema.add_field(EVENT, DataType.INT64)
    schema.add_field(CREATED, DataType.INT64)
    schema.add_field(vector_column(spec), DataType.FLOAT_VECTOR, dim=vector_dimension(spec))
    if spec.keyword_fields:
        schema.add_field(WORDS, DataType.VARCHAR, max_length=MAX_STRING_BYTES, enable_analyzer=True)
        schema.add_field(BM25, DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(
            Function(BM25, FunctionType.BM25, input_field_names=[WORDS], output_field_names=[BM25], params={})
        )
    return schema


def column_count(spec: CollectionSpec) -> int:
    """Columns of `milvus_schema`."""
    return _columns_beside_fields(spec) + len(spec.fields) + -(-len(spec.fields) // NULLS_IN_COLUMN)


def most_fields(spec: CollectionSpec, columns: int) -> int:
    """Fields that a collection like this one can have in so many columns."""
    return max(0, (columns - _columns_beside_fields(spec)) * NULLS_IN_COLUMN // (NULLS_IN_COLUMN + 1))


def _columns_beside_fields(spec: CollectionSpec) -> int:
    """Primary key, two times, the vector, join keys of their own, and the two of keyword search."""
    return 4 + len(key_columns(spec)) + (2 if spec.keyword_fields else 0)


def index_settings(spec: CollectionSpec) -> dict[str, dict[str, Any]]:
    """Milvus column → its index: `index_type`, `metric_type`, `params`."""
    if spec.vector is None:
        indexes = {NO_VECTOR: {"index_type": "FLAT", "metric_type": "L2", "params": {}}}
    else:
        settings = dict(spec.vector.index)
        kind = settings.pop("index_type", "HNSW")
        indexes = {
            column_name(spec.vector.name): {"index_type": kind, "metric_type": spec.vector.metric, "params": settings}
        }
    if spec.keyword_fields:
        indexes[BM25] = {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "BM25", "params": {}}
    return indexes


def milvus_index(client: type[MilvusClient], spec: CollectionSpec, columns: Collection[str] | None = None) -> Any:
    """`IndexParams` of a spec, of all its indexes or of those of `columns`."""
    params = client.prepare_index_params()
    for column, settings in index_settings(spec).items():
        if columns is None or column in columns:
            params.add_index(column, **settings)
    return params


def milvus_properties(spec: CollectionSpec, record: str) -> dict[str, str]:
    """Collection properties: the stamp that `describe` reads back, and the record."""
    return {STAMP: spec_to_json(spec), RECORD: record}


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
