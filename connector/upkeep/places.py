"""Every log and collection that may hold rows of an entity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.spaces import is_content_view, version_of
from connector.stores.durable import DurableFolder
from connector.stores.offline_log import OfflineLog
from connector.versions.records import find_versions, version_label

if TYPE_CHECKING:
    from connector.repository import Repository


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


def places(repository: Repository, entity: str) -> tuple[list[Place], list[Any]]:
    """Places of every view of an entity, and those views as the registry has them, by name."""
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
    return found, views


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
