"""Multimodal encoders on Triton, written into Feast and Milvus, for content-aware recommendation.

The public names, loaded when first used: `import connector` itself imports neither torch, Feast, pymilvus nor pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.applying import ApplyReport
    from connector.config import Settings
    from connector.connector import Connector
    from connector.errors import ConnectorError
    from connector.ingest import IngestReport
    from connector.spaces import EmbeddingSpace, content_view, embedding_view

_HOMES = {
    "ApplyReport": "connector.applying",
    "Connector": "connector.connector",
    "ConnectorError": "connector.errors",
    "EmbeddingSpace": "connector.spaces",
    "IngestReport": "connector.ingest",
    "Settings": "connector.config",
    "content_view": "connector.spaces",
    "embedding_view": "connector.spaces",
}

__all__ = [
    "ApplyReport",
    "Connector",
    "ConnectorError",
    "EmbeddingSpace",
    "IngestReport",
    "Settings",
    "content_view",
    "embedding_view",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
