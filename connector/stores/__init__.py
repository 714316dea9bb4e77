"""Stores: the vector store on Milvus, the offline log, and the Feast online store that brings them together."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.stores.base import CollectionSpec, ScalarField, ScalarType, VectorField, VectorStore, WriteResult
    from connector.stores.columns import bad_rows
    from connector.stores.connection import MilvusEndpoint
    from connector.stores.feast_values import store_rows
    from connector.stores.filters import Filter, parse_filter
    from connector.stores.layout import filter_types
    from connector.stores.milvus import MilvusVectorStore
    from connector.stores.offline_log import OfflineLog
    from connector.stores.online_config import open_vector_store
    from connector.stores.specs import collection_spec, collection_spec_of_view, scalar_type

_HOME = {
    "CollectionSpec": "base",
    "ScalarField": "base",
    "ScalarType": "base",
    "VectorField": "base",
    "VectorStore": "base",
    "WriteResult": "base",
    "bad_rows": "columns",
    "MilvusEndpoint": "connection",
    "store_rows": "feast_values",
    "Filter": "filters",
    "parse_filter": "filters",
    "filter_types": "layout",
    "MilvusVectorStore": "milvus",
    "OfflineLog": "offline_log",
    "open_vector_store": "online_config",
    "collection_spec": "specs",
    "collection_spec_of_view": "specs",
    "scalar_type": "specs",
}

__all__ = [
    "CollectionSpec",
    "Filter",
    "MilvusEndpoint",
    "MilvusVectorStore",
    "OfflineLog",
    "ScalarField",
    "ScalarType",
    "VectorField",
    "VectorStore",
    "WriteResult",
    "bad_rows",
    "collection_spec",
    "collection_spec_of_view",
    "filter_types",
    "open_vector_store",
    "parse_filter",
    "scalar_type",
    "store_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
