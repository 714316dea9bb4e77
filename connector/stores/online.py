"""The Feast online store on Milvus. In feature_store.yaml:

    online_store:
      type: connector.stores.online.MilvusOnlineStore
      uri: data/milvus.db                # or http://host:19530

One feature view is one collection; protobuf is converted to Arrow here and everything else is the vector store's.
"""

from __future__ import annotations

import asyncio
import re
import threading
import weakref
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from connector.errors import ConfigurationError, QueryError
from connector.spaces import EVENT_TIMESTAMP
from connector.stores.connection import Consistency, MilvusEndpoint
from connector.stores.entity_keys import entity_keys, key_table
from connector.stores.feast_values import from_protos, proto_types, to_proto, vectors_from_protos
from connector.stores.milvus import MilvusVectorStore
from connector.stores.specs import METRICS, collection_spec_of_view

if TYPE_CHECKING:
    from feast import Entity, FeatureView
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

WriteRow = tuple["EntityKey", dict[str, "Value"], datetime, datetime | None]
ReadRow = tuple[datetime | None, dict[str, "Value"] | None]
Document = tuple[datetime | None, "EntityKey | None", dict[str, "Value"] | None]


class MilvusOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]  # feast is untyped
    """`online_store:` of feature_store.yaml.

    Attributes:
        uri: server address, or path of a Milvus Lite database (ending in `.db`) relative to the feature repository.
        token: `user:password`, or an API key.
        db_name: Milvus database.
        consistency_level: of reads and searches; a process sees its own writes at every level.
        collection_prefix: put before every collection and alias name, to keep projects apart in one database.
        timeout_s: seconds for one call, its retries included.
        vector_enabled: read by Feast; always true.
    """

    type: Literal["connector.stores.online.MilvusOnlineStore"] = "connector.stores.online.MilvusOnlineStore"
    uri: str = "data/milvus.db"
    token: str = ""
    user: str = ""
    password: str = ""
    db_name: str = ""
    consistency_level: Consistency = "Session"
    collection_prefix: str = ""
    timeout_s: float = 30.0
    tls: bool = False
    server_pem_path: str | None = None
    ca_pem_path: str | None = None
    client_pem_path: str | None = None
    client_key_path: str | None = None
    server_name: str | None = None
    vector_enabled: bool = True


def milvus_endpoint(config: RepoConfig) -> MilvusEndpoint:
    """Where the repository's Milvus is.

    Raises:
        ConfigurationError: its online store is another one.
    """
    online = config.online_store
    if not isinstance(online, MilvusOnlineStoreConfig):
        raise ConfigurationError(
            f"online_store.type is {getattr(online, 'type', None)!r}; "
            "embedding spaces need connector.stores.online.MilvusOnlineStore"
        )
    uri = online.uri
    if "://" not in uri and not uri.startswith("unix:"):
        uri = str(Path(config.repo_path or ".") / uri)
    return MilvusEndpoint(
        uri=uri,
        token=online.token,
        user=online.user,
        password=online.password,
        db_name=online.db_name,
        timeout_s=online.timeout_s,
        consistency=online.consistency_level,
        prefix=online.collection_prefix,
        tls=online.tls,
        server_pem_path=online.server_pem_path,
        ca_pem_path=online.ca_pem_path,
        client_pem_path=online.client_pem_path,
        client_key_path=online.client_key_path,
        server_name=online.server_name,
    )


def open_vector_store(config: RepoConfig) -> MilvusVectorStore:
    """The vector store of a feature repository; connects on first use.

    Raises:
        ConfigurationError: its online store is another one.
    """
    return MilvusVectorStore(milvus_endpoint(config))


class MilvusOnlineStore(OnlineStore):  # type: ignore[misc]  # feast is untyped
    """Feast online store: typed, event-time safe, one collection for each view behind an alias of its name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: dict[MilvusEndpoint, MilvusVectorStore] = {}

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        return SupportedAsyncMethods(read=True, write=True)

    def vector_store(self, config: RepoConfig) -> MilvusVectorStore:
        """The vector store under this online store; closed with it."""
        endpoint = milvus_endpoint(config)
        with self._lock:
            if endpoint not in self._stores:
                self._stores[endpoint] = store = MilvusVectorStore(endpoint)
                weakref.finalize(self, store.close)
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
        """Make collections and first aliases of new views; drop every version of deleted ones."""
        store = self.vector_store(config)
        for view in tables_to_delete:
            _drop(store, view.name)
        for view in tables_to_keep:
            if not getattr(view, "online", True):
                continue
            spec = collection_spec_of_view(view)
            store.create(spec)
            if store.resolve_alias(view.name) is None:
                store.set_alias(view.name, spec.name)

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        store = self.vector_store(config)
        for view in tables:
            _drop(store, view.name)
        store.close()

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[WriteRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Upsert rows; an older event never replaces a newer one. Features a row does not name become null."""
        spec = collection_spec_of_view(table)
        columns = key_table(spec, [row[0] for row in data])
        features = [row[1] for row in data]
        for field in spec.fields:
            columns[field.name] = from_protos(field.type, [values.get(field.name) for values in features])
        if spec.vector is not None:
            given = [values.get(spec.vector.name) for values in features]
            columns[spec.vector.name] = vectors_from_protos(spec.vector.dimension, given)
        columns["event_timestamp"] = _times([row[2] for row in data])
        columns["created_timestamp"] = _times([row[3] for row in data])
        self.vector_store(config).write(spec.name, pa.table(columns))
        if progress is not None:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        """Rows in the order of `entity_keys`; (None, None) where a key is absent."""
        spec = collection_spec_of_view(table)
        wanted = requested_features or [feature.name for feature in table.features]
        keys = pa.table(key_table(spec, entity_keys))
        rows = self.vector_store(config).read(spec.name, keys, wanted)
        times = rows.column(EVENT_TIMESTAMP).to_pylist()
        features = _features(table, rows, wanted)
        return [(None, None) if time is None else (time, row) for time, row in zip(times, features, strict=True)]

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
        """Nearest rows with `distance`, ordered by entity key, not by distance.

        `FeatureStore.retrieve_online_documents_v2` puts features beside keys by the rank of each key; only rows that
        arrive in the order of their keys come out beside their own.

        Raises:
            QueryError: no embedding, a metric that is not the view's, or keyword search and filters, which this store
                takes through `connector.search(where=...)`.
        """
        if embedding is None or query_string is not None:
            raise QueryError(f"feature view {table.name}: give query=, an embedding; keyword search is not available")
        if filters is not None:
            raise QueryError(f"feature view {table.name}: filters= is not available; use connector search with where=")
        spec = collection_spec_of_view(table)
        if spec.vector is None:
            raise QueryError(f"feature view {table.name} has no vector to search by")
        if distance_metric and METRICS.get(distance_metric.upper()) != spec.vector.metric:
            raise QueryError(
                f"feature view {table.name} is searched by {spec.vector.metric}, not {distance_metric}; "
                "declare vector_search_metric on its field"
            )
        wanted = list(dict.fromkeys(requested_features or []))
        known = {feature.name for feature in table.features}
        stored = [name for name in wanted if name in known]
        hits = self.vector_store(config).search(spec.name, [embedding], top_k, columns=[*stored, EVENT_TIMESTAMP])
        hits = hits.sort_by([(key.name, "ascending") for key in spec.keys])
        distance = to_proto("Float32")
        documents: list[Document] = []
        keys = entity_keys(table, spec, hits)
        times = hits.column(EVENT_TIMESTAMP).to_pylist()
        distances = hits.column("distance").to_pylist()
        for time, key, row, away in zip(times, keys, _features(table, hits, stored), distances, strict=True):
            documents.append((time, key, {**row, "distance": distance(away)}))
        return documents

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

    async def close(self) -> None:
        with self._lock:
            stores = list(self._stores.values())
        for store in stores:
            await asyncio.to_thread(store.close)


def _features(view: FeatureView, rows: pa.Table, names: Sequence[str]) -> list[dict[str, Value]]:
    types = proto_types(view)
    if not names:
        return [{} for _ in range(rows.num_rows)]
    columns = [list(map(to_proto(types[name]), rows.column(name).to_pylist())) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _times(times: Sequence[datetime | None]) -> pa.Array:
    """Feast takes a time without a zone for UTC."""
    aware = [t if t is None or t.tzinfo is not None else t.replace(tzinfo=timezone.utc) for t in times]
    return pa.array(aware, pa.timestamp("us", tz="UTC"))


def _drop(store: MilvusVectorStore, view: str) -> None:
    version = re.compile(re.escape(view) + r"__v[0-9]+")
    for name in store.list_collections():
        if version.fullmatch(name):
            store.drop(name)
