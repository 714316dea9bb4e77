"""The vector-store contract: what every store behind the connector does, in Arrow tables.

One collection holds one version of one feature view. Rows are keyed by the view's join keys; each row carries an event
time and a created time, and a write never lets an older row replace a newer one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from connector.errors import QueryError
from connector.stores.filters import Filter

ScalarType = Literal["bool", "int64", "float64", "string", "timestamp", "opaque"]
Metric = Literal["COSINE", "IP", "L2"]


@dataclass(frozen=True)
class ScalarField:
    """A scalar column of a collection.

    Attributes:
        name: column name.
        type: `timestamp` is microseconds since 1970 UTC; `opaque` is bytes the store returns as they were and cannot
            filter on.
    """

    name: str
    type: ScalarType


@dataclass(frozen=True)
class VectorField:
    """The vector column of a collection: float32 [dimension]."""

    name: str
    dimension: int
    metric: Metric
    index: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CollectionSpec:
    """Shape of a collection.

    Attributes:
        name: collection name.
        keys: join-key columns (`string` or `int64`), in the order of the entity key.
        fields: nullable scalars.
        vector: None for a view without a vector.
        contract_hash: of the encoder contract; empty without a vector.
        partition_key: key or field whose value chooses a row's partition; empty for none.
        keyword_fields: string fields that are searched by words (BM25), where the server can.
        missing: what became of items that lack an input of the encoder: `absent`, `impute` or `error`.
        project: Feast project that it was made for; empty where that is not known.
    """

    name: str
    keys: tuple[ScalarField, ...]
    fields: tuple[ScalarField, ...] = ()
    vector: VectorField | None = None
    contract_hash: str = ""
    partition_key: str = ""
    keyword_fields: tuple[str, ...] = ()
    missing: str = "absent"
    project: str = ""


@dataclass
class WriteResult:
    """Rows written, and rows left out because the store holds a newer event for their key."""

    written: int = 0
    stale: int = 0


class VectorStore(ABC):
    """Collections of keyed, timed rows with at most one vector each, behind aliases.

    Tables that go in and come out have one column per key, scalar and vector (`FixedSizeList<float32>[dimension]`),
    and `event_timestamp`, `created_timestamp` (`timestamp[us, UTC]`; created may be null).
    Methods raise `StoreUnavailableError` when the store cannot be reached and `StoreError` for anything it refuses.
    """

    @abstractmethod
    def create(self, spec: CollectionSpec, record: str = "") -> None:
        """Create and load a collection; the same spec again is a no-op.

        Args:
            record: text kept with the collection, such as the declaration it was made from; `record` reads it back.

        Raises:
            SchemaMismatchError: it exists with another shape, metric or contract.
        """

    @abstractmethod
    def describe(self, name: str) -> CollectionSpec | None:
        """Spec of a collection or alias, or None where there is none."""

    @abstractmethod
    def record(self, name: str) -> str:
        """Text that was given at the creation of a collection or alias; empty where there is none."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Drop a collection; an absent one is a no-op. Its aliases go with it."""

    @abstractmethod
    def list_collections(self) -> list[str]:
        """Names of all collections, sorted."""

    @abstractmethod
    def set_alias(self, alias: str, collection: str) -> None:
        """Point `alias` at `collection` in one step, creating it where needed."""

    @abstractmethod
    def resolve_alias(self, alias: str) -> str | None:
        """Collection that `alias` points at, or None."""

    @abstractmethod
    def write(self, name: str, rows: pa.Table) -> WriteResult:
        """Upsert rows, newest event time (then created time) winning per key, within the table and against the store.

        Written rows can be read and searched by this process as soon as the call returns.
        """

    @abstractmethod
    def read(self, name: str, keys: pa.Table, columns: Sequence[str]) -> pa.Table:
        """Rows for `keys`, in their order, with `columns` plus `event_timestamp`; null where a key is absent.

        Args:
            keys: one column per join key. A key asked for twice is answered twice.
        """

    @abstractmethod
    def search(
        self,
        name: str,
        vectors: Any,
        k: int,
        *,
        where: Filter | None = None,
        columns: Sequence[str] = (),
        params: dict[str, Any] | None = None,
    ) -> pa.Table:
        """Nearest rows for each query.

        Args:
            name: collection or alias.
            vectors: float32 [q, dimension].
            k: 1 … 16,384 hits for each query.
            where: filter over keys and scalars.
            columns: keys, scalars or the vector to return.
            params: index search parameters, e.g. {"ef": 128}.

        Returns:
            `query` int32, the keys, `distance` float32 (as the metric defines it: COSINE and IP higher is nearer, L2
            squared and lower is nearer), then `columns`; ordered by query, nearest first.
        """

    def search_words(
        self,
        name: str,
        text: str,
        k: int,
        *,
        where: Filter | None = None,
        columns: Sequence[str] = (),
    ) -> pa.Table:
        """Rows whose keyword fields hold words of `text`, best by BM25 first.

        Returns:
            the keys, `score` float32 (higher is better), then `columns`; none where no word is found.

        Raises:
            QueryError: the collection has no keyword fields, or this store has no keyword search.
        """
        raise QueryError(f"collection {name}: this store has no keyword search")

    def fitted(self, spec: CollectionSpec) -> tuple[CollectionSpec, list[str]]:
        """The spec as this store can carry it, and so as `create` makes it, and a line for each part that it cannot."""
        return spec, []

    @abstractmethod
    def scan(
        self, name: str, columns: Sequence[str], where: Filter | None = None, batch_rows: int = 4096
    ) -> Iterator[pa.RecordBatch]:
        """Every row of a collection, or those that `where` selects, at bounded memory and in no particular order.

        A row that is there from first to last comes exactly once, as it stands when its batch is read; of rows written
        or deleted meanwhile, some do. The whole scan reads the collection that `name` meant when it was called.

        Args:
            name: collection or alias.
            columns: keys, scalars, the vector, `event_timestamp` or `created_timestamp`; the batches have just these.
            batch_rows: the most rows of a batch, ≥ 1; a batch is smaller where rows are large. None is empty.
        """

    @abstractmethod
    def delete(self, name: str, keys: pa.Table) -> int:
        """Delete rows by key → how many were asked for. Absent keys are no error."""

    @abstractmethod
    def count(self, name: str) -> int:
        """Number of rows, exact."""

    @abstractmethod
    def close(self) -> None:
        """Release connections; closing twice is fine."""
