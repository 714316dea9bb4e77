"""Feast entity keys ↔ key columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from connector.errors import StoreError
from connector.stores.base import CollectionSpec
from connector.stores.keys import KEY_TYPES

if TYPE_CHECKING:
    from feast import FeatureView
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey


def key_table(spec: CollectionSpec, keys: Sequence[EntityKey]) -> dict[str, pa.Array]:
    """One column for each join key.

    Raises:
        StoreError: an entity key without one of the join keys, or with a value of another type.
    """
    columns: dict[str, list[Any]] = {key.name: [] for key in spec.keys}
    if len(columns) == 1:
        ((only, column),) = columns.items()
        for key in keys:
            if len(key.join_keys) != 1 or key.join_keys[0] != only:
                break
            value = key.entity_values[0]
            kind = value.WhichOneof("val")
            column.append(None if kind is None else getattr(value, kind))
        keys = keys[len(column) :]
    for key in keys:
        given = dict(zip(key.join_keys, key.entity_values, strict=True))
        for name, column in columns.items():
            if name not in given:
                raise StoreError(f"collection {spec.name}: an entity key lacks {name}; it has {sorted(given)}")
            value = given[name]
            kind = value.WhichOneof("val")
            column.append(None if kind is None else getattr(value, kind))
    try:
        return {key.name: pa.array(columns[key.name], KEY_TYPES[key.type]) for key in spec.keys}
    except (pa.ArrowException, TypeError) as error:
        raise StoreError(f"collection {spec.name}: an entity key of another type: {str(error)[:120]}") from error


def entity_keys(view: FeatureView, spec: CollectionSpec, rows: pa.Table) -> list[EntityKey]:
    """The key columns of `rows` as entity keys, typed as the view's entities are."""
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey

    from connector.stores.feast_values import to_protos

    types = {column.name: str(column.dtype) for column in view.entity_columns}
    names = [key.name for key in spec.keys]
    columns = [to_protos(types.get(name, "String"), rows.column(name)) for name in names]
    return [EntityKey(join_keys=names, entity_values=list(values)) for values in zip(*columns, strict=True)]
