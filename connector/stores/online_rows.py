"""Rows of a feature view: Feast's quadruples and tuples ↔ tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pyarrow as pa

from connector.errors import StoreError
from connector.spaces import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from connector.stores.base import CollectionSpec
from connector.stores.entity_keys import key_table
from connector.stores.expiry import EARLIEST, EPOCH
from connector.stores.feast_values import from_protos, proto_types, to_protos, vectors_from_protos

if TYPE_CHECKING:
    from feast import FeatureView
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

WriteRow = tuple["EntityKey", dict[str, "Value"], datetime, datetime | None]
ReadRow = tuple[datetime | None, dict[str, "Value"] | None]


def rows_of_feast(view: FeatureView, spec: CollectionSpec, data: Sequence[WriteRow]) -> pa.Table:
    """What Feast writes, as a table. Features that a row does not name become null.

    Raises:
        StoreError: a value of another type than its feature's.
    """
    columns = key_table(spec, [row[0] for row in data])
    features = [row[1] for row in data]
    name = ""
    try:
        for field in spec.fields:
            name = field.name
            columns[name] = from_protos(field.type, [values.get(name) for values in features])
        if spec.vector is not None:
            name = spec.vector.name
            columns[name] = vectors_from_protos(spec.vector.dimension, [values.get(name) for values in features])
    except ValueError as error:
        raise StoreError(f"feature view {view.name}: feature {name!r}: {error}; nothing was written") from error
    columns[EVENT_TIMESTAMP] = _times([row[2] for row in data])
    columns[CREATED_TIMESTAMP] = _times([row[3] for row in data])
    return pa.table(columns)


def rows_for_feast(
    view: FeatureView, rows: pa.Table, names: Sequence[str], alive_since: datetime | None
) -> list[ReadRow]:
    """What Feast reads: (None, None) of an absent row, (event time, None) of one older than `alive_since`.

    Feast calls present whatever values a store returns, so an expired row has none; its time says why.
    """
    least = alive_since or EARLIEST
    return [
        (time, None if time is None or time < least else row)
        for time, row in zip(event_times(rows), features(view, rows, names), strict=True)
    ]


def features(view: FeatureView, rows: pa.Table, names: Sequence[str]) -> list[dict[str, Value]]:
    """Each row's features, in the order of `names`.

    Raises:
        StoreError: a stored number that the feature's declared type cannot hold.
    """
    if not names:
        return [{} for _ in range(rows.num_rows)]
    types = {**{column.name: str(column.dtype) for column in view.entity_columns}, **proto_types(view)}
    columns = []
    for name in names:
        try:
            columns.append(to_protos(types[name], rows.column(name)))
        except ValueError as error:
            raise StoreError(
                f"feature view {view.name}: a stored value of {name!r} does not fit {types[name]}: {error}; "
                "declare the type it was written under"
            ) from error
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def event_times(rows: pa.Table) -> list[datetime | None]:
    """Event time of each row. Arrow's own way to times of Python costs more than all else that is done with them."""
    times = rows.column(EVENT_TIMESTAMP).combine_chunks().view(pa.int64()).to_pylist()
    return [None if time is None else EPOCH + timedelta(microseconds=time) for time in times]


def _times(times: Sequence[datetime | None]) -> pa.Array:
    """Feast takes a time without a zone for UTC."""
    aware = [t if t is None or t.tzinfo is not None else t.replace(tzinfo=timezone.utc) for t in times]
    return pa.array(aware, pa.timestamp("us", tz="UTC"))
