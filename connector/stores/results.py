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
from connector.stores.layout import CREATED, EVENT, KEY, NO_CREATED, column_name, companion_name, vector_column

Row = dict[str, Any]


def output_fields(spec: CollectionSpec, columns: Sequence[str]) -> list[str]:
    """Milvus columns to ask for, so that `columns` can be answered. Key columns come out of the primary key.

    Raises:
        StoreError: a column that the collection does not have.
    """
    asked: dict[str, None] = {}
    fields = {field.name for field in spec.fields}
    times = {EVENT_TIMESTAMP: EVENT, CREATED_TIMESTAMP: CREATED}
    for name in columns:
        if name in fields:
            asked[column_name(name)] = asked[companion_name(name)] = None
        elif spec.vector is not None and name == spec.vector.name:
            asked[vector_column(spec)] = None
        elif name in times:
            asked[times[name]] = None
        elif all(name != key.name for key in spec.keys):
            declared = ", ".join(sorted(fields | {key.name for key in spec.keys})) or "none"
            raise StoreError(f"collection {spec.name}: no column {name!r}; it has {declared}")
    return list(asked)


def to_column(spec: CollectionSpec, name: str, keys: Sequence[str], rows: Sequence[Row]) -> pa.Array:
    """One column of the answer, as long as `rows`."""
    for position, key in enumerate(spec.keys):
        if key.name == name:
            return decode_keys(spec, keys)[position]
    if spec.vector is not None and name == spec.vector.name:
        return _vectors(spec.vector.dimension, [row[vector_column(spec)] for row in rows])
    if name in (EVENT_TIMESTAMP, CREATED_TIMESTAMP):
        times = [row[EVENT if name == EVENT_TIMESTAMP else CREATED] for row in rows]
        values = [None if time == NO_CREATED else time for time in times]
        return pa.array(values, pa.int64()).cast(ARROW_TYPES["timestamp"])
    return _scalar(next(field for field in spec.fields if field.name == name), rows)


def column_type(spec: CollectionSpec, name: str) -> pa.DataType:
    """Arrow type of a column of the answer."""
    if spec.vector is not None and name == spec.vector.name:
        return pa.list_(pa.float32(), spec.vector.dimension)
    if name in (EVENT_TIMESTAMP, CREATED_TIMESTAMP):
        return ARROW_TYPES["timestamp"]
    return ARROW_TYPES[next(field.type for field in (*spec.keys, *spec.fields) if field.name == name)]


def search_table(spec: CollectionSpec, answer: Sequence[Any], columns: Sequence[str]) -> pa.Table:
    """Hits of every query, nearest first: `query`, the keys, `distance`, then `columns`."""
    counts = [len(hits) for hits in answer]
    encoded = [key for hits in answer for key in hits.ids]
    distances = [distance for hits in answer for distance in hits.distances]
    rows: list[Row] = [hit["entity"] for hits in answer for hit in hits] if columns else []
    names = [key.name for key in spec.keys]
    made = {
        "query": pa.array(np.repeat(np.arange(len(counts), dtype=np.int32), counts)),
        **dict(zip(names, decode_keys(spec, encoded), strict=True)),
        "distance": pa.array(distances, pa.float32()),
    }
    for name in columns:
        if name not in made:
            made[name] = to_column(spec, name, encoded, rows)
    return pa.table(made)


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
    names = dict.fromkeys((*columns, EVENT_TIMESTAMP))
    return pa.table({name: to_column(spec, name, found, rows).take(taken) for name in names})


def _scalar(field: ScalarField, rows: Sequence[Row]) -> pa.Array:
    column, companion = column_name(field.name), companion_name(field.name)
    values: list[Any] = [row[column] if row[companion] else None for row in rows]
    if field.type == "opaque":
        return pa.array([None if value is None else base64.b64decode(value) for value in values], pa.binary())
    if field.type == "timestamp":
        return pa.array(values, pa.int64()).cast(ARROW_TYPES["timestamp"])
    return pa.array(values, ARROW_TYPES[field.type])


def _vectors(dimension: int, vectors: Sequence[Any]) -> pa.Array:
    flat = np.asarray(vectors, dtype=np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dimension)
