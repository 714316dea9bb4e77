"""Filters: SQL WHERE text → a small checked tree, which stores compile to their own language."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from connector.stores.filters.tree import And, Comparison, Constant, Filter, IsNull, Like, Membership, Node, Or

if TYPE_CHECKING:
    from connector.stores.filters.arrow import to_arrow
    from connector.stores.filters.milvus import to_milvus
    from connector.stores.filters.parse import MAX_BYTES, MAX_DEPTH, MAX_TOKENS, parse_filter

_HOME = {
    "MAX_BYTES": "parse",
    "MAX_DEPTH": "parse",
    "MAX_TOKENS": "parse",
    "parse_filter": "parse",
    "to_arrow": "arrow",
    "to_milvus": "milvus",
}

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_TOKENS",
    "And",
    "Comparison",
    "Constant",
    "Filter",
    "IsNull",
    "Like",
    "Membership",
    "Node",
    "Or",
    "parse_filter",
    "to_arrow",
    "to_milvus",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
