"""Behaviour suites that third parties can run on their own encoder or store, and the real servers to run them on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.testing.encoder_suite import EncoderSuite
    from connector.testing.milvus_server import MilvusServer
    from connector.testing.online_store_suite import OnlineStoreSuite
    from connector.testing.vector_store_suite import VectorStoreSuite

_HOME = {
    "EncoderSuite": "encoder_suite",
    "MilvusServer": "milvus_server",
    "OnlineStoreSuite": "online_store_suite",
    "VectorStoreSuite": "vector_store_suite",
}

__all__ = ["EncoderSuite", "MilvusServer", "OnlineStoreSuite", "VectorStoreSuite"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
