"""Milvus answers → Arrow tables."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from connector.errors import StoreError
from connector.spaces import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from connector.stores.base import CollectionSpec, ScalarField
from connector.stores.filters.arrow import ARROW_TYPES
from connector.stores.keys import decode_keys
from connector.stores.layout import CREATED, EVENT, KEY, NO_CREATED, NullMark, column_name, null_marks, vector_column

Row = dict[str, Any]


def output_fields(spec: CollectionSpec, columns: Sequence[str]) -> list[str]:
    """Milvus columns to ask for, so that `columns` can be answered. Key columns come out of the primary key.

    Raises:
        StoreError: a column that the collection does not have.
    """
    asked: dict[str, None] = {}
    fields = null_marks(spec)
    times = {EVENT_TIMESTAMP: EVENT, CREATED_TIMESTAMP: CREATED}
    for name in columns:
        if name in fields:
            asked[column_name(name)] = asked[fields[name].column] = None
        elif spec.vector is not None and name == spec.vector.name:
            asked[vector_column(spec)] = None
        elif name in times:
            asked[times[name]] = None
        elif all(name != key.name for key in spec.keys):
            declared = ", ".join(sorted({*fields, *(key.name for key in spec.keys)})) or "none"
            raise StoreError(f"collection {spec.name}: no column {name!r}; it has {declared}")
    return list(asked)


def to_columns(spec: CollectionSpec, names: Sequence[str], keys: Sequence[str], rows: Sequence[Row]) -> list[pa.Array]:
    """Columns of the answer, as long as `keys` and `rows`.

    Raises:
        StoreError: the answer lacks a column: it is another collection's by now. Milvus Lite leaves out what it does
            not know; a server refuses to be asked for it.
    """
    marks = null_marks(spec)
    fields = {field.name: field for field in spec.fields}
    try:
        return [
            _scalar(fields[name], marks[name], rows) if name in fields else _other(spec, name, keys, rows)
            for name in names
        ]
    except KeyError as error:
        raise StoreError(f"collection {spec.name}: Milvus answers without column {error}; `connector apply`") from error


def _other(spec: CollectionSpec, name: str, keys: Sequence[str], rows: Sequence[Row]) -> pa.Array:
    for position, key in enumerate(spec.keys):
        if key.name == name:
            return decode_keys(spec, keys)[position]
    if spec.vector is not None and name == spec.vector.name:
        return _vectors(spec.vector.dimension, [row[vector_column(spec)] for row in rows])
    times = [row[EVENT if name == EVENT_TIMESTAMP else CREATED] for row in rows]
    values = [None if time == NO_CREATED else time for time in times]
    return pa.array(values, ARROW_TYPES["timestamp"])


def column_type(spec: CollectionSpec, name: str) -> pa.DataType:
    """Arrow type of a column of the answer."""
    if spec.vector is not None and name == spec.vector.name:
        return pa.list_(pa.float32(), spec.vector.dimension)
    if name in (EVENT_TIMESTAMP, CREATED_TIMESTAMP):
        return ARROW_TYPES["timestamp"]
    return ARROW_TYPES[next(field.type for field in (*spec.keys, *spec.fields) if field.name == name)]


def search_table(spec: CollectionSpec, answer: Sequence[Any], columns: Sequence[str]) -> pa.Table:
    """Hits of every query, nearest first: `query`, the keys, `distance`, then `columns`."""
    encoded = [key for hits in answer for key in hits.ids]
    distances = [distance for hits in answer for distance in hits.distances]
    rows: list[Row] = [hit["entity"] for hits in answer for hit in hits] if columns else []
    # Arrow takes an array of numpy in a fraction of the time of a list.
    queries = np.repeat(np.arange(len(answer), dtype=np.int32), [len(hits) for hits in answer])
    names = ["query", *(key.name for key in spec.keys), "distance"]
    made = [pa.array(queries), *decode_keys(spec, encoded), pa.array(np.array(distances, np.float32))]
    asked = [name for name in dict.fromkeys(columns) if name not in names]
    return pa.Table.from_arrays([*made, *to_columns(spec, asked, encoded, rows)], names=[*names, *asked])


def empty_search_table(spec: CollectionSpec, columns: Sequence[str]) -> pa.Table:
    """`search_table` without hits."""
    made = {"query": pa.array([], pa.int32()), **{key.name: pa.array([], ARROW_TYPES[key.type]) for key in spec.keys}}
    made["distance"] = pa.array([], pa.float32())
    return pa.table({**made, **{n: pa.array([], column_type(spec, n)) for n in columns if n not in made}})


def read_table(
    spec: CollectionSpec, asked: Sequence[str | None], rows: Sequence[Row], columns: Sequence[str]
) -> pa.Table:
    """Rows in the order of `asked`, null where absent: `columns`, then `event_timestamp`."""
    place = {row[KEY]: position for position, row in enumerate(rows)}
    taken = pa.array([place.get(key) if key is not None else None for key in asked], pa.int64())
    found = [row[KEY] for row in rows]
    names = list(dict.fromkeys((*columns, EVENT_TIMESTAMP)))
    return pa.Table.from_arrays([column.take(taken) for column in to_columns(spec, names, found, rows)], names=names)


def _scalar(field: ScalarField, mark: NullMark, rows: Sequence[Row]) -> pa.Array:
    column, nulls, bit = column_name(field.name), mark.column, mark.bit
    values: list[Any] = [None if row[nulls] & bit else row[column] for row in rows]
    if field.type == "opaque":
        return pa.array([None if value is None else base64.b64decode(value) for value in values], pa.binary())
    return pa.array(values, ARROW_TYPES[field.type])


def _vectors(dimension: int, vectors: Sequence[Any]) -> pa.Array:
    flat = np.asarray(vectors, dtype=np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dimension)
