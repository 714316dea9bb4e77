"""What the files declare beside what serves: which views may be applied as they stand, and which are candidates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.spaces import TAG_KIND, TAG_PREVIOUS, EmbeddingSpace, space_of, view_of_record, view_record
from connector.versions.records import version_label

if TYPE_CHECKING:
    from feast import FeatureView

    from connector.repository import Repository
    from connector.stores.base import VectorStore


@dataclass
class Declared:
    """Views of the repository's files.

    Attributes:
        to_apply: for Feast's registry: for a space whose declared version does not serve, the version that does.
        candidates: declared views that are kept beside what serves.
        lines: what that means, a line for each candidate.
    """

    to_apply: list[FeatureView] = field(default_factory=list)
    candidates: list[FeatureView] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def separate(views: list[Any], repository: Repository, store: VectorStore) -> Declared:
    """Keep what serves where it is: apply never moves a space to another version, unless the one that serves is empty.

    Raises:
        ConfigurationError: a serving collection whose record cannot be read.
    """
    declared = Declared()
    registered = _registered(repository)
    for view in views:
        if view.tags.get(TAG_KIND) != "embedding":
            declared.to_apply.append(view)
            continue
        own, serving = repository.collection_spec(view).name, store.resolve_alias(view.name)
        known = registered.get(view.name)
        if serving in (None, own) or store.count(str(serving)) == 0:
            declared.to_apply.append(_noted(view, known) if serving == own else view)
            continue
        if known is None or repository.collection_spec(known).name != serving:
            known = _noted(view_of_record(store.record(str(serving))), known)
        declared.to_apply.append(known)
        declared.candidates.append(view)
        declared.lines.append(_line(view, known))
    return declared


def check_spaces(declared: Declared, repository: Repository, store: VectorStore) -> None:
    """Raise what the spaces' collections would be refused for, while nothing is written yet.

    Raises:
        ConfigurationError: more columns than the server takes.
        SchemaMismatchError: a collection that holds rows has another shape than is declared now.
    """
    from connector.errors import SchemaMismatchError
    from connector.stores.online_update import check_view
    from connector.stores.shapes import misfit

    for view in declared.to_apply:
        if view.tags.get(TAG_KIND) == "embedding":
            check_view(store, view, repository.collection_spec(view))
    for view in declared.candidates:
        spec, _ = store.fitted(repository.collection_spec(view))
        held = store.describe(spec.name)
        found = "" if held is None else misfit(held, spec)
        if found and store.count(spec.name):
            raise SchemaMismatchError(f"feature view {view.name}: {found}")


def make_candidates(candidates: list[FeatureView], repository: Repository, store: VectorStore) -> None:
    """Collections and logs of candidates, beside those that serve; an empty one takes on a changed declaration.

    Raises:
        SchemaMismatchError: a candidate that holds rows has another shape than is declared now.
    """
    from connector.errors import SchemaMismatchError

    for view in candidates:
        spec, record = repository.collection_spec(view), view_record(view)
        try:
            store.create(spec, record)
        except SchemaMismatchError:
            if store.count(spec.name):
                raise
            store.drop(spec.name)
            repository.offline_log(view).remove()
            store.create(spec, record)
        repository.offline_log(view).ensure(view)


def _noted(view: FeatureView, registered: FeatureView | None) -> FeatureView:
    """The view that serves, with the note of what served before it; made good where a promotion died before that."""
    if registered is None or registered.tags.get(TAG_KIND) != "embedding":
        return view
    served, serves = (_number(space_of(each)) for each in (registered, view))
    previous = registered.tags.get(TAG_PREVIOUS) if served == serves else None
    if served < serves:
        previous = version_label(served)
    if previous:
        view.tags = {**view.tags, TAG_PREVIOUS: previous}
    return view


def _number(space: EmbeddingSpace) -> tuple[int, int]:
    return space.version, space.revision


def _registered(repository: Repository) -> dict[str, FeatureView]:
    from connector.errors import ConfigurationError

    try:
        return dict(repository.snapshot().views)
    except ConfigurationError:
        return {}


def _line(view: FeatureView, serving: FeatureView) -> str:
    new, old = space_of(view), space_of(serving)
    labels = version_label(_number(new)), version_label(_number(old))
    if _number(new) < _number(old):
        return (
            f"space {view.name}: the files declare version {labels[0]}, version {labels[1]} serves; declare it in the "
            f"files, or go back by `connector rollback {view.name} --version {labels[0]}`"
        )
    return (
        f"space {view.name}: version {labels[0]} is a candidate beside version {labels[1]}, which serves; fill it by "
        f"`connector ingest`, then `connector promote {view.name}`"
    )
