"""The Feast online store on Milvus. In feature_store.yaml:

    online_store:
      type: connector.stores.online.MilvusOnlineStore
      uri: data/milvus.db                # or http://host:19530

One feature view is one collection; protobuf is converted to Arrow at this edge and everything else is the vector
store's. Beside another online store: `connector.stores.hybrid.HybridOnlineStore`.
"""

from __future__ import annotations

import _thread
import asyncio
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.repo_config import RepoConfig

from connector.errors import (
    ContractMismatchError,
    MissingCollectionError,
    QueryError,
    StoreError,
    StoreUnavailableError,
)
from connector.stores.base import CollectionSpec
from connector.stores.connection import MilvusEndpoint
from connector.stores.entity_keys import key_table
from connector.stores.expiry import alive_since, unexpired
from connector.stores.feast_filters import filter_of_feast
from connector.stores.feast_values import store_rows
from connector.stores.layout import filter_types
from connector.stores.milvus import MilvusVectorStore
from connector.stores.online_config import (
    CLASS_PATH,
    MilvusSettings,
    milvus_endpoint,
    online_config,
    open_vector_store,
    view_spec,
)
from connector.stores.online_documents import (
    Document,
    FirstDocument,
    Search,
    check_metric,
    find_documents,
    find_first_documents,
)
from connector.stores.online_rows import ReadRow, WriteRow, rows_for_feast, rows_of_feast
from connector.stores.online_update import check_view, drop_view, ensure_view, is_space
from connector.stores.specs import search_params_of_view

if TYPE_CHECKING:
    from feast import Entity, FeatureView
    from feast.infra.infra_object import InfraObject
    from feast.protos.feast.core.Registry_pb2 import Registry
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey

__all__ = [
    "CLASS_PATH",
    "MilvusOnlineStore",
    "MilvusOnlineStoreConfig",
    "milvus_endpoint",
    "online_config",
    "open_vector_store",
]

T = TypeVar("T")
log = logging.getLogger(__name__)


class MilvusOnlineStoreConfig(MilvusSettings):
    """`online_store:` of feature_store.yaml; Feast finds the store beside the class of its configuration."""


class MilvusOnlineStore(OnlineStore):  # type: ignore[misc]  # feast is untyped
    """Feast online store: typed, event-time safe, one collection for each view behind an alias of its name.

    An embedding space is read and written in the collection of its version, as its view declares it; a plain view
    through its alias.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: dict[MilvusEndpoint, MilvusVectorStore] = {}
        self._warned: set[str] = set()

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        return SupportedAsyncMethods(read=True, write=True)

    def vector_store(self, config: RepoConfig) -> MilvusVectorStore:
        """The vector store under this online store; closed with it."""
        endpoint = milvus_endpoint(config)
        with self._lock:
            if endpoint not in self._stores:
                self._stores[endpoint] = store = MilvusVectorStore(endpoint)
                weakref.finalize(self, _close_forgotten, store)
            return self._stores[endpoint]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Make collections and aliases of new views, carry rows of changed plain views over, drop deleted views.

        Raises:
            SchemaMismatchError: a view whose declared shape or version cannot be had so; then nothing is changed.
        """
        store = self.vector_store(config)
        kept = [view for view in tables_to_keep if getattr(view, "online", True)]
        specs = [self._spec(config, view) for view in kept]
        for view, spec in zip(kept, specs, strict=True):
            check_view(store, view, spec)
        for view in tables_to_delete:
            drop_view(store, view.name, config.project)
        for view, spec in zip(kept, specs, strict=True):
            ensure_view(store, view, spec)

    def plan(self, config: RepoConfig, desired_registry_proto: Registry) -> list[InfraObject]:
        """The collections that the views of a registry need; Milvus is not asked."""
        from connector.stores.online_plan import MilvusCollection, views_of_registry

        return [
            MilvusCollection(view.name, self._spec(config, view)) for view in views_of_registry(desired_registry_proto)
        ]

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Drop every version of the views and let the connection go."""
        store = self.vector_store(config)
        for view in tables:
            drop_view(store, view.name, config.project)
        store.close()

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[WriteRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Upsert rows; an older event never replaces a newer one. Features a row does not name become null."""
        spec = self._spec(config, table)
        self.vector_store(config).write(_collection(table, spec), rows_of_feast(table, spec, data))
        if progress is not None:
            progress(len(data))

    def table_writer(self, config: RepoConfig, view: FeatureView) -> Callable[[pa.Table], None]:
        """What writes tables of join keys, features and times of a view, as `online_write_batch` writes rows."""
        spec, store = self._spec(config, view), self.vector_store(config)
        dtypes = {field.name: str(field.dtype) for field in view.schema}

        def write(table: pa.Table) -> None:
            store.write(_collection(view, spec), store_rows(table, spec, dtypes))

        return write

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        """Rows in the order of `entity_keys`; (None, None) of an absent one, (event time, None) of an expired one."""
        spec = self._spec(config, table)
        wanted = list(requested_features or [feature.name for feature in table.features])
        keys = pa.table(key_table(spec, entity_keys))
        store = self.vector_store(config)
        rows = self._reading(store, table, spec, lambda name: store.read(name, keys, wanted))
        return rows_for_feast(table, rows, wanted, alive_since(getattr(table, "ttl", None), _now()))

    def retrieve_online_documents_v2(
        self,
        config: RepoConfig,
        table: FeatureView,
        requested_features: list[str] | None,
        embedding: list[float] | None,
        top_k: int,
        distance_metric: str | None = None,
        query_string: str | None = None,
        filters: Any = None,
        include_feature_view_version_metadata: bool = False,
    ) -> list[Document]:
        """The `top_k` best rows, in the order of their entity keys (see `connector.stores.online_documents`).

        Args:
            embedding: query vector; with `query_string` too, both searches are fused by reciprocal rank.
            query_string: words to find in the view's keyword fields (BM25).
            filters: Feast's filter models over keys, scalar features and `event_timestamp`.

        Raises:
            QueryError: no query, a metric that is not the view's, or keyword search where there is none.
            FilterError: an unknown field, or a value of another type.
        """
        words = (query_string or "").strip()
        if embedding is None and not words:
            raise QueryError(f"feature view {table.name}: give query= (an embedding), query_string= (words), or both")
        spec = self._spec(config, table)
        if embedding is not None:
            check_metric(table, spec.vector, distance_metric)
        where = None
        if filters is not None:
            singles = frozenset(f.name for f in table.features if str(f.dtype) == "Float32")
            where = filter_of_feast(filters, filter_types(spec), singles)
        search = self._search(config, table, spec, embedding, top_k, words=words, where=where)
        store = self.vector_store(config)
        return self._reading(
            store, table, spec, lambda name: find_documents(store, search(name), requested_features or []), search=True
        )

    def retrieve_online_documents(
        self,
        config: RepoConfig,
        table: FeatureView,
        requested_features: list[str] | None,
        embedding: list[float],
        top_k: int,
        distance_metric: str | None = None,
    ) -> list[FirstDocument]:
        """The older form of the call: time, key, first requested feature, stored vector, distance; nearest first.

        Raises:
            QueryError: a metric that is not the view's, or a view without a vector.
        """
        spec = self._spec(config, table)
        check_metric(table, spec.vector, distance_metric)
        search = self._search(config, table, spec, embedding, top_k)
        store = self.vector_store(config)
        names = requested_features or []
        return self._reading(
            store, table, spec, lambda name: find_first_documents(store, search(name), names), search=True
        )

    def write_precomputed_vector(
        self, config: RepoConfig, feature_service_name: str, project: str, entity_key: EntityKey, vector_bytes: bytes
    ) -> None:
        raise _no_precomputed(feature_service_name)

    def read_precomputed_vectors(
        self, config: RepoConfig, feature_service_name: str, project: str, entity_keys: list[EntityKey]
    ) -> list[bytes | None]:
        raise _no_precomputed(feature_service_name)

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[WriteRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        return await asyncio.to_thread(self.online_read, config, table, entity_keys, requested_features)

    async def initialize(self, config: RepoConfig) -> None:
        """Connect, so that the first request need not wait for it. Where Milvus does not answer yet, requests try."""
        try:
            await asyncio.to_thread(self.vector_store(config).list_collections)
        except StoreUnavailableError as error:
            log.warning("%s", error)

    async def close(self) -> None:
        with self._lock:
            stores = list(self._stores.values())
        for store in stores:
            await asyncio.to_thread(store.close)

    def _spec(self, config: RepoConfig, view: FeatureView) -> CollectionSpec:
        return view_spec(config, view)

    def _search(
        self,
        config: RepoConfig,
        view: FeatureView,
        spec: CollectionSpec,
        embedding: list[float] | None,
        k: int,
        *,
        words: str = "",
        where: Any = None,
    ) -> Callable[[str], Search]:
        params = search_params_of_view(view, online_config(config).search_params)
        where = unexpired(where, getattr(view, "ttl", None), _now())
        return lambda name: Search(view, spec, name, embedding, words, k, where, params)

    def _reading(
        self,
        store: MilvusVectorStore,
        view: FeatureView,
        spec: CollectionSpec,
        action: Callable[[str], T],
        *,
        search: bool = False,
    ) -> T:
        """Read what the view declares, or what serves where that is not made yet.

        A registry that commits before the store is asked keeps a version that the store refused; its readers go on
        with the one that serves. A search does so only where the vectors are of the same contract.
        """
        try:
            return action(_collection(view, spec))
        except MissingCollectionError:
            serving = store.describe(view.name) if is_space(view) else None
            if serving is None or serving.name == spec.name:
                raise
        if search and serving.contract_hash != spec.contract_hash:
            raise ContractMismatchError(
                f"feature view {view.name} declares contract {spec.contract_hash}, but {serving.name} serves, of "
                f"contract {serving.contract_hash}; run `connector apply`, then `connector promote {view.name}`"
            )
        with self._lock:
            first = spec.name not in self._warned
            self._warned.add(spec.name)
        if first:
            log.warning("there is no collection %s; %s, which serves, is read instead", spec.name, serving.name)
        return action(serving.name)


def _collection(view: FeatureView, spec: CollectionSpec) -> str:
    return spec.name if is_space(view) else str(view.name)


def _no_precomputed(service: str) -> StoreError:
    """Feast itself fills precomputed features in Redis only."""
    return StoreError(
        f"feature service {service}: features of a service are not precomputed on Milvus; declare it without "
        "precompute_online, a read is one call for each view anyway"
    )


def _close_forgotten(store: MilvusVectorStore) -> None:
    """Close it from a thread of its own: garbage is collected in the middle of anything, under any lock.

    To start a `Thread` takes a lock too, so another thread does that, one that is begun without any.
    """

    def start() -> None:
        threading.Thread(target=store.close, name="milvus-close", daemon=False).start()

    if threading.main_thread().is_alive():
        _thread.start_new_thread(start, ())
    else:  # the interpreter ends: no thread would be waited for, and none holds a lock
        store.close()


def _now() -> datetime:
    return datetime.now(timezone.utc)
