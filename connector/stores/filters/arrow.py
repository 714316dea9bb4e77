"""Tree → Arrow expression, for rows that are at hand: the offline log, or a check of what a store selected."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from connector.stores.filters.tree import And, Comparison, Constant, Filter, IsNull, Like, Membership, Node, Or

ARROW_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "opaque": pa.binary(),
}


def to_arrow(where: Filter) -> Any:
    """`pyarrow.compute.Expression` over columns of the declared names and types; select by `table.filter(...)`."""
    return _node(where, where.tree)


def _node(where: Filter, node: Node) -> Any:
    if isinstance(node, Constant):
        return pc.scalar(node.value)
    if isinstance(node, And):
        return reduce(lambda left, right: left & right, (_node(where, part) for part in node.parts))
    if isinstance(node, Or):
        return reduce(lambda left, right: left | right, (_node(where, part) for part in node.parts))
    field = pc.field(node.field)
    if isinstance(node, IsNull):
        return field.is_valid() if node.negated else field.is_null()
    kind = ARROW_TYPES[where.types[node.field]]
    if isinstance(node, Comparison):
        return _compare(field, node.operator, pa.scalar(node.value, kind))
    if isinstance(node, Membership):
        found = reduce(lambda left, right: left | right, (field == pa.scalar(value, kind) for value in node.values))
    else:
        found = _like(field, node)
    return ~found if node.negated else found


def _compare(field: Any, operator: str, value: Any) -> Any:
    comparisons = {
        "==": field == value,
        "!=": field != value,
        "<": field < value,
        "<=": field <= value,
        ">": field > value,
        ">=": field >= value,
    }
    return comparisons[operator]


def _like(field: Any, node: Like) -> Any:
    function = {"prefix": pc.starts_with, "suffix": pc.ends_with, "contains": pc.match_substring}[node.wildcard]
    return function(field, node.text)
