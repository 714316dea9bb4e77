"""A catalogue → the shape of a repository for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from connector.errors import CatalogueError
from connector.ingest.catalogue import open_catalogue
from connector.scaffold.columns import is_unique, judge, key_type, middle
from connector.scaffold.media import MEDIA
from connector.scaffold.shape import Column, Shape, identifier, is_field_name, unused
from connector.suggest import suggestion

SAMPLE_ROWS = 2000

_TIMES = {"event_timestamp": "used as the event time of each row", "created_timestamp": "written by the ingest"}
_KEY_NAMES = ("id", "sku", "asin", "ean", "gtin", "uuid", "uid", "key")


def infer_shape(source: Any, *, project: str, key: str | None = None, entity: str | None = None) -> Shape:
    """Judge a catalogue's columns from its schema and its first rows.

    Args:
        key: key column; guessed from names and uniqueness when not given.
        entity: Feast entity; default the key's name without `_id`.

    Raises:
        CatalogueError: it cannot be read, is empty, or has no column that could be the key.
    """
    cells = _sample(source)
    key_column = _key(cells, key, str(source))
    kind = key_type(cells[key_column])
    if kind is None:
        raise CatalogueError(
            f"column {key_column!r} of type {cells[key_column].type} cannot be a key; use text or integers"
        )
    judged = {name: judge(name, column) for name, column in cells.items() if name != key_column and name not in _TIMES}
    names = _Names()
    join_key = names.give(key_column, "key")
    entity_name = entity or _entity_name(join_key)
    left_out = {name: reason for name, reason in _TIMES.items() if name in cells}
    left_out |= {name: each.reason for name, each in judged.items() if each.role == "other"}
    fields = {name: names.give(name) for name, each in judged.items() if each.dtype is not None}
    text = tuple(name for name, each in judged.items() if each.role == "text")
    middles = {name: middle(cells[name]) for name, each in judged.items() if each.role == "scalar"}
    columns = {
        name: Column(fields[name], each.dtype, names.source(name), middles.get(name))
        for name, each in judged.items()
        if each.dtype is not None
    }
    carried = [columns[name] for name in columns if judged[name].role in ("scalar", "category") or judged[name].label]
    return Shape(
        project=project,
        entity=entity_name,
        key=Column(join_key, kind, names.source(key_column)),
        text=text,
        media={name: each.role for name, each in judged.items() if each.role in MEDIA},
        carried=tuple(carried),
        content=tuple(columns.values()),
        left_out=left_out,
    )


def _sample(source: Any) -> dict[str, pa.Array]:
    catalogue = open_catalogue(source)
    parts: dict[str, list[pa.Array]] = {name: [] for name in catalogue.columns}
    rows = 0
    for batch in catalogue.batches(catalogue.columns, SAMPLE_ROWS):
        for name, column in batch.columns.items():
            parts[name].append(column)
        rows += len(batch.rows)
        if rows >= SAMPLE_ROWS:
            break
    if not rows:
        raise CatalogueError(f"{source}: no rows to judge its columns by")
    return {name: _joined(columns) for name, columns in parts.items() if columns}


def _joined(columns: list[pa.Array]) -> pa.Array:
    alike = [column for column in columns if column.type == columns[0].type]
    return pa.concat_arrays(alike)


def _key(cells: Mapping[str, pa.Array], key: str | None, source: str) -> str:
    if key is not None:
        if key not in cells:
            raise CatalogueError(f"{source}: no column {key!r} for the key: {suggestion(key, cells)}")
        return key
    able = [name for name, column in cells.items() if key_type(column) and is_unique(column)]
    likely = [name for name in able if _sounds_like_key(name)]
    if not likely:
        raise CatalogueError(f"{source}: no column looks like a unique key; name it by --key: {suggestion('', cells)}")
    return max(likely, key=lambda name: (name.lower().endswith("_id"), -list(cells).index(name)))


def _sounds_like_key(name: str) -> bool:
    plain = identifier(name)
    return plain in _KEY_NAMES or plain.endswith(tuple(f"_{ending}" for ending in _KEY_NAMES)) or name.endswith("Id")


def _entity_name(key: str) -> str:
    for ending in _KEY_NAMES:
        if key.lower().endswith(f"_{ending}"):
            return identifier(key[: -len(ending) - 1], "item")
    return "item"


class _Names:
    """Field names for columns, each given once."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}

    def give(self, column: str, fallback: str = "column") -> str:
        name = column if is_field_name(column) else identifier(column, fallback)
        if not is_field_name(name):
            name = f"{fallback}_{name}"
        name = unused(name, self._given)
        self._given[name] = column
        return name

    def source(self, column: str) -> str:
        """The column where its field is called otherwise, else empty."""
        return "" if self._given.get(column) == column else column
