"""Features from Feast's online store, joined to a result in its own order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from connector.errors import ConnectorError, QueryError

if TYPE_CHECKING:
    from feast import FeatureStore


def join_features(table: pa.Table, key: str, features: Sequence[str] | str, store: FeatureStore) -> pa.Table:
    """Append one column for each feature, null where the store has no value for the item.

    A column is called as Feast calls it: by the feature's own name, or `view__feature` for every one of them when two
    of the names would collide with each other or with a column of the result.

    Args:
        features: references `view:feature`, or the name of a feature service.

    Raises:
        QueryError: a reference that is not of that form, or that Feast cannot answer from the item's key alone.
    """
    if not features:
        return table
    wanted = _service(features, store) if isinstance(features, str) else _checked(features)
    types = feature_types(wanted, store)
    short = [name for _, name in types]
    full = len(set(short)) < len(short) or not set(short).isdisjoint(table.column_names)
    if table.num_rows == 0:  # Feast refuses to be asked of nobody
        for (view, name), kind in types.items():
            table = table.append_column(f"{view}__{name}" if full else name, pa.array([], kind))
        return table
    try:
        answer = store.get_online_features(
            features=wanted, entity_rows={key: table.column(key).to_pylist()}, full_feature_names=full
        ).to_dict()
    except ConnectorError:
        raise
    except Exception as error:  # Feast raises a class of its own, or a plain one, for each way a request can be wrong
        raise QueryError(f"features= cannot be joined: {' '.join(str(error).split())}") from error
    for (view, name), kind in types.items():
        column = f"{view}__{name}" if full else name
        table = table.append_column(column, _column(answer[column], kind))
    return table


def feature_types(wanted: Any, store: FeatureStore) -> dict[tuple[str, str], pa.DataType]:
    """(view, feature) → Arrow type, in the order asked for.

    Raises:
        QueryError: the registry holds no such view or feature; suggests close names.
    """
    from feast.types import from_feast_to_pyarrow_type

    from connector.suggest import suggestion

    if isinstance(wanted, list):
        references = [tuple(reference.split(":", 1)) for reference in wanted]
    else:
        references = [(p.name_to_use(), f.name) for p in wanted.feature_view_projections for f in p.features]
    views = {view.name: view for view in store.registry.list_all_feature_views(store.project, allow_cache=True)}
    types: dict[tuple[str, str], pa.DataType] = {}
    for view, name in references:
        base = view.split("@", 1)[0]
        if base not in views:
            raise QueryError(f"features=: no feature view {base!r}: {suggestion(base, views)}")
        fields = {field.name: field for field in views[base].features}
        if name not in fields:
            raise QueryError(f"features=: view {base} has no feature {name!r}: {suggestion(name, fields)}")
        types[view, name] = from_feast_to_pyarrow_type(fields[name].dtype)
    return types


def _checked(features: Sequence[str]) -> list[str]:
    for reference in features:
        if not isinstance(reference, str) or reference.count(":") != 1 or not all(reference.split(":")):
            raise QueryError(f"features=: {reference!r} is not of the form view:feature")
    return list(dict.fromkeys(features))


def _service(name: str, store: FeatureStore) -> Any:
    from feast.errors import FeatureServiceNotFoundException

    from connector.suggest import suggestion

    if ":" in name:
        return _checked([name])
    try:
        return store.get_feature_service(name, allow_cache=True)
    except FeatureServiceNotFoundException as error:
        known = [service.name for service in store.list_feature_services()]
        raise QueryError(f"features=: no feature service {name!r}: {suggestion(name, known)}") from error


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array(values)  # Feast hands some types out in another Python form than their Arrow type takes
