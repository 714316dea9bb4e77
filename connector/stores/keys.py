"""Entity keys ↔ the one string that is Milvus's primary key."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from connector.errors import StoreError
from connector.stores.base import CollectionSpec

KEY_TYPES = {"string": pa.string(), "int64": pa.int64()}


def encode_keys(spec: CollectionSpec, table: pa.Table) -> list[str | None]:
    """One string for each row: a string key itself, an integer in decimal, several keys as a JSON array.

    Raises:
        StoreError: a key column is missing or of another type.
    """
    columns = [key_column(spec, table, key.name) for key in spec.keys]
    if len(columns) == 1:
        encoded: list[str | None] = columns[0].cast(pa.string()).to_pylist()
        return encoded
    return [
        None if None in values else json.dumps(values, ensure_ascii=False, separators=(",", ":"))
        for values in zip(*(column.to_pylist() for column in columns), strict=True)
    ]


def decode_keys(spec: CollectionSpec, encoded: Sequence[str]) -> list[pa.Array]:
    """The key columns again."""
    types = [KEY_TYPES[key.type] for key in spec.keys]
    if len(types) == 1:
        return [pa.array(encoded if types[0] == pa.string() else [int(key) for key in encoded], types[0])]
    rows = [json.loads(text) for text in encoded]
    return [pa.array([row[position] for row in rows], kind) for position, kind in enumerate(types)]


def key_column(spec: CollectionSpec, table: pa.Table, name: str) -> pa.ChunkedArray:
    """A key column under its declared type.

    Raises:
        StoreError: it is missing or of another type.
    """
    kind = next(KEY_TYPES[key.type] for key in spec.keys if key.name == name)
    if name not in table.column_names:
        raise StoreError(f"collection {spec.name}: the rows have no key column {name!r}")
    column = table.column(name)
    if pa.types.is_floating(column.type) or (kind == pa.string() and pa.types.is_integer(column.type)):
        raise StoreError(f"collection {spec.name}: key {name!r} is {column.type}, expected {kind}")
    try:
        return column.cast(kind)
    except pa.ArrowException as error:
        raise StoreError(f"collection {spec.name}: key {name!r} is {column.type}, expected {kind}") from error
