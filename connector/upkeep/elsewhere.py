"""Rows of an entity that are not in Milvus: in the other stores of a hybrid online store, and at sources of others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from connector.spaces import TAG_KIND
from connector.upkeep.receipts import Removal

if TYPE_CHECKING:
    from connector.repository import Repository


def overwrite_elsewhere(
    repository: Repository, views: Sequence[Any], key: str, asked: pa.Table, *, dry_run: bool = False
) -> list[Removal]:
    """Null every feature of the entities in views that another online store holds.

    Feast's online stores have no removal by key. Rows that were never there are not made.

    Args:
        dry_run: only count them.
    """
    store = repository.feature_store
    online = store.provider.online_store
    kind_of = getattr(online, "store_type", None)
    if kind_of is None:
        return []
    removals = []
    for view in views:
        kind = kind_of(store.config, view)
        if kind is None or [column.name for column in view.entity_columns] != [key]:
            continue
        entity_keys = _entity_keys(view, key, asked)
        rows = online.online_read(store.config, view, entity_keys, None)
        present = [each for each, (_, values) in zip(entity_keys, rows, strict=True) if _any(values)]
        if present and not dry_run:
            online.online_write_batch(store.config, view, _nulls(view, present), None)
        removals.append(Removal("online store", str(kind), view.name, rows=len(present)))
    return removals


def left_over(repository: Repository, views: Sequence[Any], key: str) -> list[str]:
    """What is not the connector's to delete, a line each."""
    store = repository.feature_store
    kind_of = getattr(store.provider.online_store, "store_type", lambda *_: None)
    lines = [
        f"feature view {view.name} has several join keys in online store {kind_of(store.config, view)}, which has no "
        f"search by {key}: remove its rows there"
        for view in views
        if len(view.entity_columns) > 1 and kind_of(store.config, view) is not None
    ]
    return lines + [
        f"the source of feature view {view.name} ({source.name}) is not the connector's: remove the entities there, or "
        "the next materialization brings them back"
        for view in views
        if TAG_KIND not in view.tags and (source := getattr(view, "batch_source", None)) is not None
    ]


def _entity_keys(view: Any, key: str, asked: pa.Table) -> list[Any]:
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey

    from connector.stores.feast_values import to_protos

    dtype = str(view.entity_columns[0].dtype)
    return [EntityKey(join_keys=[key], entity_values=[value]) for value in to_protos(dtype, asked.column(0))]


def _any(values: Any) -> bool:
    return any(value.WhichOneof("val") not in (None, "null_val") for value in (values or {}).values())


def _nulls(view: Any, keys: Sequence[Any]) -> list[Any]:
    from feast.protos.feast.types.Value_pb2 import Value

    now = datetime.now(timezone.utc)
    return [(key, {feature.name: Value() for feature in view.features}, now, now) for key in keys]
