"""Where the rows of a view are: each of its versions, with its collection and its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from connector.errors import MissingCollectionError, UnknownSpaceError
from connector.spaces import is_content_view
from connector.suggest import suggestion
from connector.versions.records import find_versions

if TYPE_CHECKING:
    from feast import FeatureView

    from connector.repository import Repository
    from connector.stores.base import CollectionSpec
    from connector.stores.offline_log import OfflineLog


@dataclass(frozen=True)
class Holding:
    """One version of one view.

    Attributes:
        name: of the view.
        version: label, as `3` or `3r2`; empty for a plain view.
        state: `serving`, `candidate` or `previous`; a plain view serves.
        spec: of its collection, as it is in Milvus.
        log: its offline log.
        view: the Feast view that this version was made from.
    """

    name: str
    version: str
    state: str
    spec: CollectionSpec
    log: OfflineLog
    view: FeatureView

    @property
    def dtypes(self) -> dict[str, str]:
        """Field → Feast type name."""
        return {field.name: str(field.dtype) for field in self.view.features if not field.vector_index}


def holdings(repository: Repository, name: str) -> list[Holding]:
    """Every version of a space, oldest first, or the one of a content view.

    Raises:
        UnknownSpaceError: neither a space nor a content view.
        MissingCollectionError: Milvus does not have its collection.
    """
    views = repository.snapshot().views
    if name not in views:
        raise UnknownSpaceError(f"no space or content view {name!r}: {suggestion(name, views)}")
    if not is_content_view(views[name]):
        return [
            _holding(repository, version.view, version.space.collection, version.label, version.state)
            for version in find_versions(repository, name)
        ]
    return [_holding(repository, views[name], name, "", "serving")]


def _holding(repository: Repository, view: FeatureView, collection: str, label: str, state: str) -> Holding:
    spec = repository.vector_store.describe(collection)
    if spec is None:
        raise MissingCollectionError(f"there is no collection or alias {collection} in Milvus; run `connector apply`")
    return Holding(view.name, label, state, spec, repository.offline_log(view), view)
