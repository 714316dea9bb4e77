"""Triton: a local server from its wheel, the model repository, and the client that encoders are reached through."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.serving.client import TritonClient
    from connector.serving.environment import ServerEnvironment
    from connector.serving.local import LocalTriton
    from connector.serving.model_config import render_config
    from connector.serving.provider import EncoderProvider
    from connector.serving.remote_encoder import TritonEncoder
    from connector.serving.repository import publish, published
    from connector.serving.state import running_milvus
    from connector.serving.status import ModelStatus, ServerStatus, StackStatus

__all__ = [
    "EncoderProvider",
    "LocalTriton",
    "ModelStatus",
    "ServerEnvironment",
    "ServerStatus",
    "StackStatus",
    "TritonClient",
    "TritonEncoder",
    "publish",
    "published",
    "render_config",
    "running_milvus",
]

_HOMES = {
    "EncoderProvider": "provider",
    "LocalTriton": "local",
    "ModelStatus": "status",
    "ServerEnvironment": "environment",
    "ServerStatus": "status",
    "StackStatus": "status",
    "TritonClient": "client",
    "TritonEncoder": "remote_encoder",
    "publish": "repository",
    "published": "repository",
    "render_config": "model_config",
    "running_milvus": "state",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
