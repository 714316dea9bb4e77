"""Filters: SQL WHERE text → a small checked tree, which stores compile to their own language."""

from __future__ import annotations

from connector.stores.filters.arrow import to_arrow
from connector.stores.filters.milvus import to_milvus
from connector.stores.filters.parse import MAX_BYTES, MAX_DEPTH, MAX_TOKENS, parse_filter
from connector.stores.filters.tree import And, Comparison, Constant, Filter, IsNull, Like, Membership, Node, Or

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
