"""What `feast apply` does in Milvus: collections of new views, changed shapes, dropped views.

This side cannot see the registry; what serves is what the alias points at.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from connector.errors import ConfigurationError, SchemaMismatchError
from connector.spaces import TAG_CONTRACT, collection_name, version_of, view_of_record, view_record
from connector.stores.base import CollectionSpec, VectorStore
from connector.stores.carry import carry_rows, obstacles
from connector.stores.shapes import differences, index_differences, misfit

if TYPE_CHECKING:
    from feast import FeatureView

log = logging.getLogger(__name__)


def is_space(view: FeatureView) -> bool:
    """Whether the view has an encoder version, and so collections that are switched by promotion only."""
    return TAG_CONTRACT in view.tags


def check_view(store: VectorStore, view: FeatureView, spec: CollectionSpec) -> None:
    """Raise what `ensure_view` would, as far as it can be told beforehand, so that one apply is refused as a whole.

    Raises:
        SchemaMismatchError: the declared shape cannot be had without losing rows; says what to do instead.
    """
    serving = store.resolve_alias(view.name)
    fitted, _ = store.fitted(spec)
    if serving is None:
        return
    require_own(store.describe(serving), spec)
    if not is_space(view):
        plain_changes(store, view, spec, serving)
    elif serving == spec.name:
        held = store.describe(serving)
        found = "" if held is None or can_reindex(store, held, fitted) else misfit(held, fitted)
        if found:
            raise SchemaMismatchError(f"feature view {view.name}: {found}")
    elif store.count(serving):
        raise SchemaMismatchError(
            f"feature view {view.name} declares {spec.name}, but {serving} serves and holds rows; "
            f"run `connector apply`, which makes {spec.name} beside it, then `connector promote {view.name}`"
        )


def ensure_view(store: VectorStore, view: FeatureView, spec: CollectionSpec) -> None:
    """Make or change what the view needs, and finish what a killed run left half done.

    Raises:
        SchemaMismatchError: the declared shape cannot be had without losing rows; says what to do instead.
    """
    check_view(store, view, spec)
    if is_space(view):
        held = store.describe(spec.name)
        if held is not None and can_reindex(store, held, store.fitted(spec)[0]):
            store.drop(spec.name)
        _create(store, view, spec)
        if store.resolve_alias(view.name) != spec.name:
            store.set_alias(view.name, spec.name)
        return
    serving = store.resolve_alias(view.name)
    if serving is None:
        versions = _versions(store, view.name)
        if not versions:
            _create(store, view, spec)
        serving = versions[-1] if versions else spec.name
        store.set_alias(view.name, serving)
    changes = plain_changes(store, view, spec, serving)
    if changes:
        serving = _move(store, view, spec, serving, changes)
    _finish(store, view.name, serving)


def can_reindex(store: VectorStore, held: CollectionSpec, declared: CollectionSpec) -> bool:
    """Whether a space's collection differs by its index alone and holds nothing, so that it can be made anew."""
    found = index_differences(held, declared)
    return (
        bool(found)
        and held.contract_hash == declared.contract_hash
        and (differences(held, declared) == found and store.count(held.name) == 0)
    )


def drop_view(store: VectorStore, name: str, project: str = "") -> None:
    """Drop every version of a view; its alias goes with the collection that it points at.

    Args:
        project: Feast project whose view it is; what another one made is left alone.
    """
    for collection in _versions(store, name):
        held = store.describe(collection)
        if held is not None and project and held.project not in ("", project):
            log.warning("feature view %s: %s is project %s's, and is left as it is", name, collection, held.project)
            continue
        store.drop(collection)


def require_own(held: CollectionSpec | None, spec: CollectionSpec) -> None:
    """Refuse a collection that another Feast project made.

    Raises:
        SchemaMismatchError: it is; names the project and the remedy.
    """
    if held is not None and spec.project and held.project not in ("", spec.project):
        raise SchemaMismatchError(
            f"collection {held.name} belongs to Feast project {held.project}, not to {spec.project}; give one of them "
            "an online_store.collection_prefix or a db_name of its own"
        )


def plain_changes(store: VectorStore, view: FeatureView, spec: CollectionSpec, serving: str) -> list[str]:
    """What is declared otherwise than it is in the collection of a plain view, a clause each.

    Raises:
        SchemaMismatchError: its rows cannot be carried over; says what to do instead.
    """
    held = store.describe(serving)
    assert held is not None  # noqa: S101 - an alias points at a collection
    if held.contract_hash:
        raise SchemaMismatchError(
            f"feature view {view.name}: {serving} holds an embedding space; remove the view by `feast apply` without "
            "it, which drops the space, before you declare it as a plain one"
        )
    retyped = _retyped(store, view, serving, spec)
    changes = [*differences(held, store.fitted(spec)[0]), *retyped]
    found = [*obstacles(held, spec), *retyped]
    if found and store.count(serving):
        raise SchemaMismatchError(
            f"feature view {view.name}: the rows in {serving} cannot be carried over: {'; '.join(found)}; "
            "give what changed another name, or remove the view by `feast apply` without it, which drops its rows"
        )
    return changes


def _move(store: VectorStore, view: FeatureView, spec: CollectionSpec, serving: str, changes: list[str]) -> str:
    held = store.describe(serving)
    assert held is not None  # noqa: S101 - it was described just now
    target = replace(spec, name=collection_name(view.name, _number(view.name, serving)[0] + 1))
    log.info("feature view %s: %s; rows go from %s to %s", view.name, "; ".join(changes), serving, target.name)
    left = store.describe(target.name)
    if left is not None and differences(left, store.fitted(target)[0]):
        store.drop(target.name)  # a move to yet another shape was cut short
    _create(store, view, target)
    if not obstacles(held, target):
        carry_rows(store, held, target)
    store.set_alias(view.name, target.name)
    return target.name


def _finish(store: VectorStore, name: str, serving: str) -> None:
    """Drop what a move leaves behind, after its rows of the last moment are carried over too."""
    target = store.describe(serving)
    assert target is not None  # noqa: S101 - the alias points at it
    for collection in _versions(store, name):
        source = store.describe(collection)
        if collection == serving or source is None or source.contract_hash:
            continue
        if _number(name, collection) < _number(name, serving):
            if obstacles(source, target):
                if store.count(collection):
                    log.warning("feature view %s: %s is left as it is; drop it if it is of no use", name, collection)
                    continue
            else:
                carry_rows(store, source, target)
        store.drop(collection)


def _create(store: VectorStore, view: FeatureView, spec: CollectionSpec) -> None:
    new = store.describe(spec.name) is None
    store.create(spec, _record(view))
    if new:
        for line in store.fitted(spec)[1]:
            log.warning("%s", line)


def _retyped(store: VectorStore, view: FeatureView, collection: str, spec: CollectionSpec) -> list[str]:
    """Fields that are kept as Feast's own bytes and whose Feast type is another now."""
    try:
        before = {field.name: str(field.dtype) for field in view_of_record(store.record(collection)).features}
    except ConfigurationError:
        return []  # a collection without a record: only what the store itself knows can be compared
    now = {field.name: str(field.dtype) for field in view.features}
    opaque = [field.name for field in spec.fields if field.type == "opaque"]
    return [
        f"field {name} is {before[name]} there and {now[name]} declared"
        for name in opaque
        if before.get(name, now[name]) != now[name]
    ]


def _record(view: FeatureView) -> str:
    """Only feature views proper have a record: stream and on-demand views are other messages in Feast's registry."""
    from feast import FeatureView, StreamFeatureView

    return view_record(view) if isinstance(view, FeatureView) and not isinstance(view, StreamFeatureView) else ""


def _versions(store: VectorStore, name: str) -> list[str]:
    """Collections of a view, oldest version first."""
    found = [collection for collection in store.list_collections() if version_of(name, collection) is not None]
    return sorted(found, key=lambda collection: _number(name, collection))


def _number(name: str, collection: str) -> tuple[int, int]:
    return version_of(name, collection) or (0, 0)
