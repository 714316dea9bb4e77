"""Milvus beside another online store. In feature_store.yaml, in the shape of Feast's own hybrid store:

    online_store:
      type: connector.stores.hybrid.HybridOnlineStore
      routing_tag: online_store                       # optional
      online_stores:
        - type: connector.stores.online.MilvusOnlineStore
          conf: {uri: data/milvus.db}
        - type: sqlite
          conf: {path: data/online.db}

A view's routing tag names its store: the type, or its last part in lower case (`sqlite`, `milvusonlinestore`). A view
without the tag goes to Milvus if it has a vector or is filled by `connector ingest`, else to the first other store.

Feast's class takes its own stores' short names only, has no vector search, and loses its place when more than one view
is applied; this one keeps its configuration.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.infra.online_stores.hybrid_online_store.hybrid_online_store import (
    HybridOnlineStoreConfig as FeastHybridOnlineStoreConfig,
)
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.repo_config import RepoConfig, get_online_config_from_type

from connector.errors import ConfigurationError
from connector.spaces import TAG_KIND
from connector.stores.milvus import MilvusVectorStore
from connector.stores.online import CLASS_PATH, MilvusOnlineStore
from connector.stores.online_documents import Document, FirstDocument
from connector.stores.online_rows import ReadRow, WriteRow

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import Entity, FeatureView
    from feast.infra.infra_object import InfraObject
    from feast.protos.feast.core.Registry_pb2 import Registry
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey

DEFAULT_TAG = "tribe"
"""Feast's own."""


class HybridOnlineStoreConfig(FeastHybridOnlineStoreConfig):  # type: ignore[misc]  # feast is untyped
    """`online_store:` of feature_store.yaml.

    Attributes:
        online_stores: `type` and `conf` of each store, ours among them.
        routing_tag: tag of a feature view that names its store.
    """

    type: Literal["connector.stores.hybrid.HybridOnlineStore"] = "connector.stores.hybrid.HybridOnlineStore"


class HybridOnlineStore(OnlineStore):  # type: ignore[misc]  # feast is untyped
    """Routes every call to the store of its view."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: dict[str, OnlineStore] = {}
        self._configs: dict[str, Any] = {}

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Before the first call the stores are not known yet, and calls are made in threads."""
        with self._lock:
            stores = list(self._stores.values())
        supported = [store.async_supported for store in stores]
        return SupportedAsyncMethods(
            read=bool(stores) and all(each.read for each in supported),
            write=bool(stores) and all(each.write for each in supported),
        )

    def vector_store(self, config: RepoConfig) -> MilvusVectorStore:
        """The vector store under the Milvus part; closed with it."""
        store = self._store(config, CLASS_PATH)
        assert isinstance(store, MilvusOnlineStore)  # noqa: S101 - its type says so
        return store.vector_store(config)

    def store_type(self, config: RepoConfig, view: FeatureView) -> str | None:
        """Type of the other store that holds a view; None where Milvus does.

        Raises:
            ConfigurationError: its tag names no store.
        """
        kind = _kind(config, view)
        return None if kind == CLASS_PATH else kind

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Have each store make and drop what is its own."""
        for kind in _kinds(config):
            gone = [view for view in tables_to_delete if _kind(config, view) == kind]
            kept = [view for view in tables_to_keep if _kind(config, view) == kind]
            if gone or kept:
                self._store(config, kind).update(
                    self._config(config, kind), gone, kept, entities_to_delete, entities_to_keep, partial
                )

    def plan(self, config: RepoConfig, desired_registry_proto: Registry) -> list[InfraObject]:
        from connector.stores.online_plan import views_of_registry

        objects: list[InfraObject] = []
        for kind in _kinds(config):
            mine = {view.name for view in views_of_registry(desired_registry_proto) if _kind(config, view) == kind}
            part = type(desired_registry_proto)()
            part.CopyFrom(desired_registry_proto)
            for views in (
                part.feature_views,
                part.stream_feature_views,
                part.label_views,
                part.on_demand_feature_views,
            ):
                kept = [view for view in views if view.spec.name in mine]
                del views[:]
                views.extend(kept)
            objects.extend(self._store(config, kind).plan(self._config(config, kind), part))
        return objects

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        for kind in _kinds(config):
            mine = [view for view in tables if _kind(config, view) == kind]
            if mine:
                self._store(config, kind).teardown(self._config(config, kind), mine, entities)

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[WriteRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        store, part = self._of(config, table)
        store.online_write_batch(part, table, data, progress)

    def table_writer(self, config: RepoConfig, view: FeatureView) -> Callable[[pa.Table], None] | None:
        """As `MilvusOnlineStore.table_writer`; None for a view of another store."""
        store, part = self._of(config, view)
        return store.table_writer(part, view) if isinstance(store, MilvusOnlineStore) else None

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        store, part = self._of(config, table)
        rows: list[ReadRow] = store.online_read(part, table, entity_keys, requested_features)
        return rows

    def retrieve_online_documents(
        self,
        config: RepoConfig,
        table: FeatureView,
        requested_features: list[str] | None,
        embedding: list[float],
        top_k: int,
        distance_metric: str | None = None,
    ) -> list[FirstDocument]:
        store, part = self._of(config, table)
        found: list[FirstDocument] = store.retrieve_online_documents(
            part, table, requested_features, embedding, top_k, distance_metric
        )
        return found

    def retrieve_online_documents_v2(self, config: RepoConfig, table: FeatureView, *args: Any, **options: Any) -> Any:
        store, part = self._of(config, table)
        found: list[Document] = store.retrieve_online_documents_v2(part, table, *args, **options)
        return found

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[WriteRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        store, part = self._of(config, table)
        await store.online_write_batch_async(part, table, data, progress)

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        store, part = self._of(config, table)
        rows: list[ReadRow] = await store.online_read_async(part, table, entity_keys, requested_features)
        return rows

    async def initialize(self, config: RepoConfig) -> None:
        for kind in _kinds(config):
            await self._store(config, kind).initialize(self._config(config, kind))

    async def close(self) -> None:
        with self._lock:
            stores = list(self._stores.values())
        for store in stores:
            await store.close()

    def _of(self, config: RepoConfig, view: FeatureView) -> tuple[OnlineStore, RepoConfig]:
        kind = _kind(config, view)
        return self._store(config, kind), self._config(config, kind)

    def _store(self, config: RepoConfig, kind: str) -> OnlineStore:
        part = self._config(config, kind).online_store
        with self._lock:
            if kind not in self._stores:
                self._stores[kind] = get_online_store_from_config(part)
            return self._stores[kind]

    def _config(self, config: RepoConfig, kind: str) -> RepoConfig:
        """The repository's configuration as if this store were its only one."""
        with self._lock:
            if kind not in self._configs:
                conf = next(dict(part.conf) for part in config.online_store.online_stores if part.type == kind)
                self._configs[kind] = get_online_config_from_type(kind)(**{**conf, "type": kind})
            part = config.model_copy()
            part._online_store = self._configs[kind]
            return part


def _kinds(config: RepoConfig) -> list[str]:
    kinds = [str(part.type) for part in config.online_store.online_stores or ()]
    if CLASS_PATH not in kinds or len(set(kinds)) != len(kinds):
        raise ConfigurationError(
            f"online_store.online_stores has types {', '.join(kinds) or 'none'}; "
            f"expected {CLASS_PATH} and others, each once"
        )
    return kinds


def _kind(config: RepoConfig, view: FeatureView) -> str:
    """Type of the store that holds a view.

    Raises:
        ConfigurationError: a tag that names none of them.
    """
    kinds = _kinds(config)
    tag = config.online_store.routing_tag or DEFAULT_TAG
    named = view.tags.get(tag)
    if named is None:
        others = [kind for kind in kinds if kind != CLASS_PATH]
        ours = TAG_KIND in view.tags or any(field.vector_index for field in view.features)
        return CLASS_PATH if ours or not others else others[0]
    for kind in kinds:
        if named.lower() in (kind.lower(), kind.split(".")[-1].lower()):
            return kind
    raise ConfigurationError(
        f"feature view {view.name}: tag {tag} is {named!r}; the online stores are {', '.join(kinds)}"
    )
