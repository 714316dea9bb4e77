"""Two shapes of one collection: in which words do they differ?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from connector.stores.base import CollectionSpec, ScalarField, VectorField


def differences(held: CollectionSpec, declared: CollectionSpec) -> list[str]:
    """What a view declares that its collection does not have, a clause each; empty where the collection fits.

    The order of fields does not count. Nor does a partition key that is not declared: it says where rows lie, not what
    they are.
    """
    found = _shape_differences(held, declared)
    return found + index_differences(held, declared)


def index_differences(held: CollectionSpec, declared: CollectionSpec) -> list[str]:
    """The clause that says so, where a vector of the same shape is declared with another index."""
    if held.vector is None or declared.vector is None or _shape(held.vector) != _shape(declared.vector):
        return []
    there, now = _index(held.vector), _index(declared.vector)
    return [] if there == now else [f"index {_settings(there)} there, {_settings(now)} declared"]


def misfit(held: CollectionSpec, declared: CollectionSpec) -> str:
    """Why a collection cannot be taken for the declared one, and what to do; empty where it can."""
    name = declared.name
    if held.contract_hash != declared.contract_hash:
        return (
            f"collection {name} holds vectors of contract {held.contract_hash or 'none'}, its view declares "
            f"{declared.contract_hash or 'none'}; publish the encoder as a new version"
        )
    found = differences(held, declared)
    if not found:
        return ""
    return (
        f"collection {name} has another shape: {'; '.join(found)}; "
        "declare the view with the next revision=, which is made beside this one, or go back to what was declared"
    )


def _shape_differences(held: CollectionSpec, declared: CollectionSpec) -> list[str]:
    found = []
    if held.keys != declared.keys:
        found.append(f"keys {_listed(held.keys)} there, {_listed(declared.keys)} declared")
    changes = _field_changes(held.fields, declared.fields)
    if changes:
        found.append(f"fields: {', '.join(changes)}")
    if _shape(held.vector) != _shape(declared.vector):
        found.append(f"vector {_shown(held.vector)} there, {_shown(declared.vector)} declared")
    if declared.partition_key and held.partition_key != declared.partition_key:
        found.append(f"partition key {held.partition_key or 'none'} there, {declared.partition_key} declared")
    if set(held.keyword_fields) != set(declared.keyword_fields):
        there, now = (", ".join(spec.keyword_fields) or "none" for spec in (held, declared))
        found.append(f"keyword fields {there} there, {now} declared")
    if held.missing != declared.missing:
        found.append(f"missing={held.missing!r} there, {declared.missing!r} declared")
    return found


def _field_changes(held: Iterable[ScalarField], declared: Iterable[ScalarField]) -> list[str]:
    before = {field.name: field.type for field in held}
    now = {field.name: field.type for field in declared}
    changed = [
        f"{name} is {before[name]} there and {kind} declared"
        for name, kind in now.items()
        if name in before and kind != before[name]
    ]
    new = [f"{name} ({kind}) is new" for name, kind in now.items() if name not in before]
    return [*changed, *new, *(f"{name} ({kind}) is gone" for name, kind in before.items() if name not in now)]


def _shape(vector: VectorField | None) -> tuple[str, int, str] | None:
    return None if vector is None else (vector.name, vector.dimension, vector.metric)


def _index(vector: VectorField) -> dict[str, str]:
    """Settings as Milvus reads them: of any type, HNSW where none is named."""
    return {"index_type": "HNSW", **{name: str(value) for name, value in vector.index.items()}}


def _settings(index: dict[str, Any]) -> str:
    return ", ".join(
        [index["index_type"], *(f"{name}={index[name]}" for name in sorted(index) if name != "index_type")]
    )


def _listed(fields: Iterable[ScalarField]) -> str:
    return "(" + ", ".join(f"{field.name} {field.type}" for field in fields) + ")"


def _shown(vector: VectorField | None) -> str:
    return "none" if vector is None else f"{vector.name}[{vector.dimension}] {vector.metric}"
