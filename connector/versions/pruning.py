"""Removal of versions that nobody reads any more: only by this, and never what serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from connector.errors import ConfigurationError
from connector.spaces import TAG_PREVIOUS
from connector.versions.alone import alone
from connector.versions.records import SpaceVersion, find_version, find_versions

if TYPE_CHECKING:
    from connector.repository import Repository


def prune(
    repository: Repository,
    name: str,
    *,
    keep: int = 1,
    versions: Sequence[str | int] = (),
    logs: bool = False,
    dry_run: bool = False,
) -> list[SpaceVersion]:
    """Remove previous versions of a space, oldest first → those removed.

    Args:
        keep: how many previous versions stay for a rollback, ≥ 0; the one that a rollback goes back to is the first
            of them.
        versions: instead: labels of those to remove, candidates included.
        logs: remove their offline logs too; without it a version can be filled again from its log.
        dry_run: only say which.

    Raises:
        ConfigurationError: a version that serves or that the alias points at, or `keep` below 0.
        UnknownSpaceError: no such space or version.
    """
    if keep < 0:
        raise ConfigurationError(f"keep={keep}: give 0 or more")
    if dry_run:
        return _chosen(repository, name, keep, versions)
    with alone(repository):
        repository.refresh()
        chosen = _chosen(repository, name, keep, versions)
        for version in chosen:
            _remove(repository, version, logs)
    return chosen


def _chosen(repository: Repository, name: str, keep: int, versions: Sequence[str | int]) -> list[SpaceVersion]:
    known = find_versions(repository, name)
    if versions:
        chosen = [find_version(known, label) for label in versions]
    else:
        noted = {version.view.tags.get(TAG_PREVIOUS) for version in known if version.state == "serving"}
        previous = [version for version in known if version.state == "previous" and not version.aliased]
        previous.sort(key=lambda version: version.label in noted)
        chosen = previous[: max(0, len(previous) - keep)]
    for version in chosen:
        if version.state == "serving" or version.aliased:
            raise ConfigurationError(f"version {version.label} of {name} serves; promote another one first")
    return chosen


def _remove(repository: Repository, version: SpaceVersion, logs: bool) -> None:
    store, name = repository.vector_store, version.space.name
    if store.resolve_alias(name) == version.space.collection:  # moved by hand meanwhile; an alias goes with its target
        raise ConfigurationError(f"version {version.label} of {name} has begun to serve; nothing more was removed")
    store.drop(version.space.collection)
    if logs:
        repository.offline_log(version.view).remove()
