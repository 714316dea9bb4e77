"""What an ingest fills: one target for each feature view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from connector.spaces import EmbeddingSpace, FieldSpec, is_content_view, space_of

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureView


class Log(Protocol):
    """The durable log of one view; `connector.stores.OfflineLog` is one.

    Attributes:
        folder: path or URL; runs keep their progress in it. Empty for a log that has no place: its runs keep it with
            the dead letters.
    """

    folder: str

    def append(self, table: pa.Table, part: str) -> Any:
        """Write `table` as the part of that name, replacing an earlier part of the same name."""

    def drop_part(self, part: str) -> Any:
        """Remove one part."""

    def clean(self) -> Any:
        """Remove what a run that died left half written."""


@dataclass(frozen=True)
class ViewTarget:
    """One feature view that an ingest fills.

    Attributes:
        name: of the feature view.
        join_key: the entity's join-key column with its Feast type name (`String` or `Int64`, …).
        fields: scalar columns, copied from the catalogue columns of the same names.
        log: the offline log that every row is appended to first.
        collection: of the vector store, or an alias, that rows are written to after the log; None fills the log only.
        space: the embedding space, for a view with a vector; None for a plain view.
    """

    name: str
    join_key: FieldSpec
    fields: tuple[FieldSpec, ...]
    log: Log
    collection: str | None
    space: EmbeddingSpace | None = None


def space_target(space: EmbeddingSpace, log: Log) -> ViewTarget:
    """Target of an embedding space."""
    return ViewTarget(space.name, space.join_key, space.fields, log, space.collection, space)


def view_target(view: FeatureView, log: Log, *, online: bool = True) -> ViewTarget:
    """Target of a Feast feature view made by `embedding_view` or `content_view`.

    Args:
        online: whether a plain view is also written to the vector store (True where Feast's online store is ours).
    """
    if not is_content_view(view):
        return space_target(space_of(view), log)
    key = view.entity_columns[0]
    return ViewTarget(
        name=view.name,
        join_key=FieldSpec(key.name, str(key.dtype)),
        fields=tuple(FieldSpec(field.name, str(field.dtype)) for field in view.features),
        log=log,
        collection=str(view.name) if online else None,
    )
