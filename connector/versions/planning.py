"""What an apply would do, found without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from connector.errors import ConfigurationError
from connector.spaces import TAG_KIND, version_of
from connector.versions.records import version_label

if TYPE_CHECKING:
    from connector.repository import Repository
    from connector.stores.base import VectorStore

Kind = Literal["new", "unchanged", "candidate", "behind", "moved", "migrated", "removed", "refused"]


@dataclass(frozen=True)
class Change:
    """What an apply would do to one feature view.

    Attributes:
        change: `new`; `unchanged`; `candidate`, made beside the version that serves; `behind`, an older version than
            serves is declared; `moved`, since the version that serves is empty; `migrated`, a plain view whose rows are
            copied into its new shape or index, or an empty space with another index; `removed`, no longer declared;
            `refused`, with what to do instead.
        detail: in words.
    """

    view: str
    change: Kind
    detail: str = ""


def plan_repository(repository: Repository) -> list[Change]:
    """Compare the repository's files with the Feast registry and with Milvus; writes nothing.

    Raises:
        ConfigurationError: files that do not import, or are not well declared.
        StoreUnavailableError: Milvus does not answer.
    """
    from connector.definitions import load_definitions
    from connector.spaces import read_spaces

    feast_store, store = repository.feature_store, repository.vector_store
    definitions = load_definitions(repository.path, feast_store.project)
    views = definitions.feature_views
    read_spaces(views)
    for view in views:
        _infer_keys(view, definitions.entities)
    changes = [_change(view, repository, store) for view in views if getattr(view, "online", True)]
    try:
        registered = feast_store.registry.list_feature_views(feast_store.project)
    except FileNotFoundError:
        registered = []
    declared = {view.name for view in views}
    for view in registered:
        if view.name not in declared:
            collections = [each for each in store.list_collections() if version_of(view.name, each)]
            changes.append(Change(view.name, "removed", f"drops {', '.join(collections) or 'no collection'}"))
    return sorted(changes, key=lambda change: change.view)


def _infer_keys(view: Any, entities: Sequence[Any]) -> None:
    """Join keys that `schema=` leaves out, by the types of their entities, as Feast's apply does."""
    from feast import Field, ValueType
    from feast.types import from_value_type

    named = {column.name for column in view.entity_columns}
    for entity in entities:
        if entity.name in view.entities and entity.join_key not in named and entity.value_type != ValueType.UNKNOWN:
            view.entity_columns.append(Field(name=entity.join_key, dtype=from_value_type(entity.value_type)))


def _change(view: Any, repository: Repository, store: VectorStore) -> Change:
    from connector.errors import SchemaMismatchError
    from connector.stores.online_update import can_reindex, plain_changes, require_own
    from connector.stores.shapes import differences

    try:
        spec, _ = store.fitted(repository.collection_spec(view))
    except ConfigurationError as error:
        return Change(view.name, "refused", str(error))
    serving = store.resolve_alias(view.name)
    if serving is None:
        return Change(view.name, "new", f"collection {spec.name}")
    plain = view.tags.get(TAG_KIND) != "embedding"
    try:
        require_own(store.describe(serving), spec)
        found = plain_changes(store, view, spec, serving) if plain else []
    except SchemaMismatchError as error:
        return Change(view.name, "refused", str(error))
    if plain:
        if found:
            return Change(view.name, "migrated", f"{'; '.join(found)}; {store.count(serving):,} rows are copied")
        return Change(view.name, "unchanged")
    held = store.describe(spec.name)
    found = [] if held is None else differences(held, spec)
    if held is not None and held.contract_hash != spec.contract_hash:
        found.insert(0, f"vectors of contract {held.contract_hash} there, {spec.contract_hash} declared")
    empty = bool(found) and store.count(spec.name) == 0
    if found and not empty:
        return _refused(view, spec.name, found)
    if serving == spec.name:
        if found and held is not None and can_reindex(store, held, spec):
            return Change(view.name, "migrated", f"{'; '.join(found)}; {spec.name}, which is empty, is made anew")
        return _refused(view, spec.name, found) if found else Change(view.name, "unchanged")
    own, other = version_of(view.name, spec.name), version_of(view.name, serving)
    label, served = version_label(own or (0, 1)), version_label(other or (0, 1))
    if store.count(serving) == 0:
        return Change(view.name, "moved", f"version {label} serves, since version {served} is empty")
    if own and other and own < other:
        return Change(view.name, "behind", f"version {label} is declared, version {served} goes on serving")
    made = "is made" if held is None else f"is made anew ({'; '.join(found)})" if found else "waits"
    return Change(view.name, "candidate", f"version {label} {made} beside version {served}, which goes on serving")


def _refused(view: Any, collection: str, found: list[str]) -> Change:
    return Change(view.name, "refused", f"{collection}: {'; '.join(found)}; raise revision=, or the encoder's version")
