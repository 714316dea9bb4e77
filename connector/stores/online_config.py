"""`online_store:` of feature_store.yaml, and where it says that Milvus is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from feast.repo_config import FeastConfigBaseModel, RepoConfig

from connector.errors import ConfigurationError
from connector.stores.base import CollectionSpec
from connector.stores.connection import Consistency, MilvusEndpoint
from connector.stores.milvus import MilvusVectorStore
from connector.stores.specs import collection_spec_of_view

if TYPE_CHECKING:
    from feast import FeatureView

CLASS_PATH = "connector.stores.online.MilvusOnlineStore"


class MilvusSettings(FeastConfigBaseModel):  # type: ignore[misc]  # feast is untyped
    """`online_store:` of feature_store.yaml.

    Attributes:
        uri: server address, or path of a Milvus Lite database (ending in `.db`) relative to the feature repository.
        token: `user:password`, or an API key.
        user: with `password`, instead of `token`.
        db_name: Milvus database, one for each tenant; it must exist.
        consistency_level: of reads and searches; a process sees its own writes at every level.
        collection_prefix: put before every collection and alias name, to keep projects apart in one database.
        timeout_s: seconds for one call; for a read or a search, its retries included.
        patience_s: seconds for which a write is tried again while Milvus is away, not ready, or asks to slow down, or
            while another process of this host writes.
        index: of vectors whose view does not say: `index_type` and the parameters Milvus takes with it.
        search_params: of every search, e.g. {"ef": 128}; a view's tag `connector/search_params` goes before.
        partition_key: of views that have such a field (or join key, of several) and no tag of their own.
        embedding_dim: length of vectors whose field has no `vector_length`; Feast's own stores are told so too.
        tls: encrypt; an https URI does so by itself.
        server_pem_path: the server's certificate, for one-way TLS.
        ca_pem_path: certificate authority, for two-way TLS, with the client's pair below.
        client_pem_path: client certificate.
        client_key_path: client key.
        server_name: name in the server's certificate, where it is not the host's.
        max_columns: that the server takes in a collection: its `proxy.maxFieldNum`.
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
    patience_s: float = 60.0
    index: dict[str, Any] | None = None
    search_params: dict[str, Any] | None = None
    partition_key: str = ""
    embedding_dim: int | None = None
    tls: bool = False
    server_pem_path: str | None = None
    ca_pem_path: str | None = None
    client_pem_path: str | None = None
    client_key_path: str | None = None
    server_name: str | None = None
    max_columns: int = 64
    vector_enabled: bool = True


def online_config(config: RepoConfig) -> MilvusSettings:
    """Our part of a repository's configuration: its online store, or the one inside a hybrid store.

    Raises:
        ConfigurationError: neither is ours.
    """
    online = config.online_store
    if isinstance(online, MilvusSettings):
        return online
    for part in getattr(online, "online_stores", None) or ():
        if part.type == CLASS_PATH:
            return MilvusSettings(**{**part.conf, "type": CLASS_PATH})
    raise ConfigurationError(
        f"online_store.type is {getattr(online, 'type', None)!r}; embedding spaces need {CLASS_PATH}, alone or among "
        "the online_stores of connector.stores.hybrid.HybridOnlineStore"
    )


def milvus_endpoint(config: RepoConfig) -> MilvusEndpoint:
    """Where the repository's Milvus is.

    Raises:
        ConfigurationError: its online store is another one.
    """
    online = online_config(config)
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
        patience_s=online.patience_s,
        consistency=online.consistency_level,
        prefix=online.collection_prefix,
        tls=online.tls,
        server_pem_path=online.server_pem_path,
        ca_pem_path=online.ca_pem_path,
        client_pem_path=online.client_pem_path,
        client_key_path=online.client_key_path,
        server_name=online.server_name,
        max_columns=online.max_columns,
    )


def view_spec(config: RepoConfig, view: FeatureView) -> CollectionSpec:
    """Spec of a view's collection, with what the repository's online store says where the view does not.

    Raises:
        ConfigurationError: a view that cannot be a collection, or another online store.
    """
    online = online_config(config)
    spec = collection_spec_of_view(
        view, index=online.index, partition_key=online.partition_key, dimension=online.embedding_dim
    )
    return replace(spec, project=str(config.project))


def open_vector_store(config: RepoConfig) -> MilvusVectorStore:
    """The vector store of a feature repository; connects on first use.

    Raises:
        ConfigurationError: its online store is another one.
    """
    return MilvusVectorStore(milvus_endpoint(config))
