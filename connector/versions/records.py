"""What versions of a space there are: read from the collections, each of which keeps the view it was made from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from connector.errors import ConfigurationError, UnknownSpaceError
from connector.spaces import EmbeddingSpace, space_of, version_of, view_of_record
from connector.suggest import suggestion

if TYPE_CHECKING:
    from feast import FeatureView

    from connector.repository import Repository
    from connector.stores.base import VectorStore

State = Literal["serving", "candidate", "previous"]


@dataclass(frozen=True)
class SpaceVersion:
    """One version of an embedding space.

    Attributes:
        state: `serving` is what the Feast registry declares and readers use; a `candidate` is a higher version, filled
            beside it by every ingest; a `previous` one is lower and is kept for a rollback.
        aliased: whether the Milvus alias points at it. Differs from serving only while a promotion is unfinished.
        rows: rows in the collection.
        view: the Feast view that it is declared by.
    """

    space: EmbeddingSpace
    state: State
    aliased: bool
    rows: int
    view: FeatureView = field(repr=False, compare=False)

    @property
    def number(self) -> tuple[int, int]:
        """Version of the encoder, and revision."""
        return self.space.version, self.space.revision

    @property
    def label(self) -> str:
        """`3`, or `3r2` for the second revision."""
        return version_label(self.number)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "version": self.label,
            "state": self.state,
            "aliased": self.aliased,
            "rows": self.rows,
            "encoder": self.space.contract.label,
            "dimension": self.space.contract.dimension,
            "metric": self.space.contract.metric,
            "collection": self.space.collection,
            "log": self.space.log_path,
        }


def version_label(number: tuple[int, int]) -> str:
    """(3, 1) → `3`; (3, 2) → `3r2`."""
    version, revision = number
    return str(version) if revision == 1 else f"{version}r{revision}"


def parse_label(label: str | int) -> tuple[int, int]:
    """`3`, `v3` or `3r2` → version and revision.

    Raises:
        ConfigurationError: anything else.
    """
    found = re.fullmatch(r"v?([1-9][0-9]*)(?:_?r([1-9][0-9]*))?", str(label), re.ASCII)
    if found is None:
        raise ConfigurationError(f"version {label!r}: write a number, as 3, or with its revision, as 3r2")
    return int(found[1]), int(found[2] or 1)


def find_versions(repository: Repository, name: str) -> list[SpaceVersion]:
    """Versions of a space, oldest first.

    Raises:
        UnknownSpaceError: the registry does not hold the space.
    """
    declared, store = repository.space(name), repository.vector_store
    aliased = store.resolve_alias(name)
    versions = []
    for number, collection in _collections(store, name):
        if collection == declared.collection:
            view, space = repository.snapshot().views[name], declared
        else:
            view = view_of_record(store.record(collection))
            space = space_of(view)
        versions.append(
            SpaceVersion(
                space=space,
                state=_state(number, (declared.version, declared.revision)),
                aliased=collection == aliased,
                rows=store.count(collection),
                view=view,
            )
        )
    return versions


def find_version(versions: list[SpaceVersion], label: str | int) -> SpaceVersion:
    """The version of that label.

    Raises:
        UnknownSpaceError: there is none; lists those there are.
    """
    number = parse_label(label)
    for version in versions:
        if version.number == number:
            return version
    known = [version.label for version in versions]
    raise UnknownSpaceError(f"no version {version_label(number)} of the space: {suggestion(str(label), known)}")


def live_views(repository: Repository, name: str) -> list[FeatureView]:
    """The view that serves a space, then those of its candidates: what an ingest fills."""
    declared, store = repository.space(name), repository.vector_store
    serving = (declared.version, declared.revision)
    candidates = [collection for number, collection in _collections(store, name) if number > serving]
    return [
        repository.snapshot().views[name],
        *(view_of_record(store.record(collection)) for collection in candidates),
    ]


def _collections(store: VectorStore, name: str) -> list[tuple[tuple[int, int], str]]:
    found = ((version_of(name, collection), collection) for collection in store.list_collections())
    return sorted((number, collection) for number, collection in found if number is not None)


def _state(number: tuple[int, int], serving: tuple[int, int]) -> State:
    if number == serving:
        return "serving"
    return "candidate" if number > serving else "previous"
