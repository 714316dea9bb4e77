"""Rows of one collection carried over into another shape of the same view."""

from __future__ import annotations

import pyarrow as pa

from connector.spaces import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from connector.stores.base import CollectionSpec, VectorStore
from connector.stores.filters.arrow import ARROW_TYPES

WIDENED = {("int64", "float64")}
"""Changes of type that lose nothing."""


def obstacles(held: CollectionSpec, declared: CollectionSpec) -> list[str]:
    """Why rows of one shape cannot be carried into the other, a clause each; empty where they can."""
    found = []
    if held.keys != declared.keys:
        found.append("its join keys are others")
    before = {field.name: field.type for field in held.fields}
    for field in declared.fields:
        old = before.get(field.name, field.type)
        if old != field.type and (old, field.type) not in WIDENED:
            found.append(f"field {field.name} is {old} there and {field.type} declared")
    if declared.vector is not None:
        there = None if held.vector is None else (held.vector.name, held.vector.dimension)
        if there != (declared.vector.name, declared.vector.dimension):
            found.append(f"its rows have no vector {declared.vector.name}[{declared.vector.dimension}]")
    return found


def carry_rows(store: VectorStore, source: CollectionSpec, target: CollectionSpec) -> int:
    """Copy every row at bounded memory → rows read. New fields are null; a newer row in the target stays.

    Doing it again does no harm, so a copy that was cut short is simply begun anew.
    """
    kept = [field.name for field in target.fields if any(field.name == old.name for old in source.fields)]
    names = [*(key.name for key in target.keys), *kept, EVENT_TIMESTAMP, CREATED_TIMESTAMP]
    if target.vector is not None:
        names.append(target.vector.name)
    count = 0
    for batch in store.scan(source.name, names):
        store.write(target.name, carried(pa.Table.from_batches([batch]), target))
        count += batch.num_rows
    return count


def carried(rows: pa.Table, target: CollectionSpec) -> pa.Table:
    """Rows of a shape without `obstacles`, in the shape of `target`: new fields are null, dropped ones are left out."""
    columns = {key.name: rows.column(key.name) for key in target.keys}
    for field in target.fields:
        known = field.name in rows.column_names
        columns[field.name] = rows.column(field.name) if known else pa.nulls(rows.num_rows, ARROW_TYPES[field.type])
    names = [EVENT_TIMESTAMP, CREATED_TIMESTAMP] + ([] if target.vector is None else [target.vector.name])
    return pa.table({**columns, **{name: rows.column(name) for name in names if name in rows.column_names}})
