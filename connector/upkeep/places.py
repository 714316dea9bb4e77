"""Every log and collection that may hold rows of an entity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from connector.errors import StoreError
from connector.spaces import CREATED_TIMESTAMP, EVENT_TIMESTAMP, LOGS, is_content_view, version_of, view_of
from connector.stores.durable import DurableFolder
from connector.stores.offline_log import OfflineLog
from connector.versions.records import find_versions, version_label

if TYPE_CHECKING:
    from connector.repository import Repository

TIMES = tuple(pa.field(name, pa.timestamp("us", "UTC")) for name in (EVENT_TIMESTAMP, CREATED_TIMESTAMP))


@dataclass(frozen=True)
class Place:
    """One version of a view.

    Attributes:
        collection: name or alias; empty where only a log is left of it.
        log: None for a view that the connector does not fill.
    """

    view: str
    version: str
    collection: str
    log: OfflineLog | None


def places(repository: Repository, entity: str, key: pa.Field) -> tuple[list[Place], list[Any]]:
    """Places of every view of an entity, and those views as the registry has them, by name.

    Args:
        key: the entity's join key, by which the logs of views that are no longer declared are known.
    """
    store = repository.feature_store
    repository.refresh()
    snapshot = repository.snapshot()
    declared = store.registry.list_all_feature_views(store.project)
    views = sorted(
        (view for view in declared if entity in (getattr(view, "entities", None) or ())),
        key=lambda view: str(view.name),
    )
    found: list[Place] = []
    for view in views:
        if view.name in snapshot.spaces:
            found += _of_space(repository, view.name)
        else:
            filled = view.name in snapshot.views and is_content_view(view)
            found += _of_plain(repository, view.name, repository.offline_log(view) if filled else None)
    names = {str(view.name) for view in declared}
    return found + list(_undeclared(repository, names, found, key)), views


def _undeclared(repository: Repository, declared: set[str], found: list[Place], key: pa.Field) -> Iterator[Place]:
    """Logs of versions that outlived their views: `reconcile` would fill them into Milvus, were they declared again."""
    known = {place.log.folder for place in found if place.log is not None}
    beside = {folder.rstrip("/").rsplit("/", 1)[0] for folder in known}
    for parent in sorted({str(repository.path / LOGS), *beside}):
        for folder in DurableFolder(parent).names():
            view = view_of(folder)
            if view is None or view in declared:
                continue
            log = OfflineLog(f"{parent}/{folder}")
            if log.folder not in known and key in (log.schema() or ()):
                yield Place(view, version_label(version_of(view, folder) or (1, 1)), "", log)


def unknown_folders(repository: Repository, found: list[Place], asked: pa.Table) -> list[str]:
    """A line for each folder beside the logs that holds rows of these keys and may be a plain view's log of once."""
    known = {place.log.folder for place in found if place.log is not None}
    lines = []
    for folder in DurableFolder(str(repository.path / LOGS)).names():
        log = OfflineLog(str(repository.path / LOGS / folder))
        with suppress(StoreError):  # somebody else's files
            schema = log.schema() or pa.schema([])
            if log.folder in known or not {asked.schema.field(0), *TIMES} <= set(schema):
                continue
            if rows := log.holding(asked):
                lines.append(
                    f"{log.folder} holds {rows:,} rows of them; no view that is declared now writes there: remove it, "
                    "or declare its view and delete again"
                )
    return lines


def _of_plain(repository: Repository, name: str, log: OfflineLog | None) -> list[Place]:
    """A plain view has one collection, and for a while two: where it moves, was cut short moving, or could not."""
    names = [each for each in repository.vector_store.list_collections() if version_of(name, each) is not None]
    if not names:
        return [Place(name, "", name, log)]
    return [Place(name, "", collection, None if place else log) for place, collection in enumerate(names)]


def _of_space(repository: Repository, name: str) -> list[Place]:
    versions = find_versions(repository, name)
    found = [
        Place(name, version.label, version.space.collection, repository.offline_log(version.view))
        for version in versions
    ]
    view = repository.snapshot().views[name]
    known = {place.log.folder for place in found if place.log is not None}
    if repository.offline_log(view).folder not in known:  # its collection was lost, its log was not
        found.append(Place(name, "", "", repository.offline_log(view)))
        known.add(repository.offline_log(view).folder)
    return found + _pruned(name, known)


def _pruned(name: str, known: set[str]) -> list[Place]:
    """Logs of versions whose collections were pruned: they lie beside the others."""
    found = []
    for parent in sorted({folder.rstrip("/").rsplit("/", 1)[0] for folder in known}):
        for folder in DurableFolder(parent).names():
            number = version_of(name, folder)
            if number is not None and f"{parent}/{folder}" not in known:
                found.append(Place(name, version_label(number), "", OfflineLog(f"{parent}/{folder}")))
    return found
