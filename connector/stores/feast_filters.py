"""Feast's filter models → the checked filter tree: the same fields, types and null logic as SQL text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from connector.errors import FilterError
from connector.stores.filters import Comparison, Filter, IsNull, Membership
from connector.stores.filters.literals import compare, microseconds
from connector.stores.filters.parse import MAX_DEPTH
from connector.stores.filters.tree import Constant, Node, Operator, Value, all_of, any_of

if TYPE_CHECKING:
    from feast.filter_models import ComparisonFilter, CompoundFilter

    from connector.stores.base import ScalarType

OPERATORS: dict[str, Operator] = {"eq": "==", "ne": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
MOST_LEAVES = 4096


def filter_of_feast(
    filters: ComparisonFilter | CompoundFilter, fields: Mapping[str, ScalarType], singles: frozenset[str] = frozenset()
) -> Filter:
    """A Feast filter as a checked one.

    Nulls behave as in SQL: a comparison never selects them. `eq` and `ne` with None ask for null and for not null.

    Args:
        fields: name → type of every field that may be used.
        singles: fields of single precision, whose values are compared as such.

    Raises:
        FilterError: an unknown field, a value of another type, or too many of them.
    """
    reader = _Reader(fields, singles)
    tree = reader.read(filters, 0)
    return Filter(tree, dict(reader.used))


class _Reader:
    def __init__(self, fields: Mapping[str, ScalarType], singles: frozenset[str]) -> None:
        self._fields = fields
        self._singles = singles
        self._leaves = 0
        self.used: dict[str, ScalarType] = {}

    def read(self, node: Any, depth: int) -> Node:
        from feast.filter_models import ComparisonFilter, CompoundFilter

        if depth > MAX_DEPTH:
            raise FilterError(f"filters: nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, CompoundFilter):
            parts = [self.read(part, depth + 1) for part in node.filters]
            return all_of(parts) if node.type == "and" else any_of(parts)
        if isinstance(node, ComparisonFilter):
            self._leaves += 1
            if self._leaves > MOST_LEAVES:
                raise FilterError(f"filters: more than {MOST_LEAVES} comparisons; use one of type 'in'")
            return self._leaf(node)
        raise FilterError(f"filters: expected Feast's ComparisonFilter or CompoundFilter, found {type(node).__name__}")

    def _leaf(self, leaf: ComparisonFilter) -> Node:
        kind = self._fields.get(leaf.key)
        if kind is None or kind == "opaque":
            known = ", ".join(sorted(name for name, each in self._fields.items() if each != "opaque"))
            reason = "can be returned but not filtered on" if kind else "is not a field"
            raise FilterError(f"filters: {leaf.key[:60]!r} {reason}; declared fields: {known}")
        self.used[leaf.key] = kind
        try:
            if leaf.type in ("in", "nin"):
                return self._membership(leaf.key, kind, leaf.value, negated=leaf.type == "nin")
            operator = OPERATORS[leaf.type]
            if leaf.value is None:
                if operator not in ("==", "!="):
                    raise ValueError("None has no order; use eq or ne")
                return IsNull(leaf.key, negated=operator == "!=")
            return compare(leaf.key, kind, operator, self._value(leaf.key, kind, leaf.value))
        except ValueError as error:
            raise FilterError(f"filters: {leaf.key} ({kind}) {leaf.type} {_shown(leaf.value)}: {error}") from error

    def _membership(self, field: str, kind: ScalarType, values: Any, negated: bool) -> Node:
        if not isinstance(values, list | tuple | set | frozenset):
            raise ValueError("expected a list of values")
        given = list(values)
        if negated and None in given:
            return Constant(False)  # as in SQL: nothing is known to differ from null
        kept: dict[Value, None] = {}
        for value in given:
            node = None if value is None else compare(field, kind, "==", self._value(field, kind, value))
            if isinstance(node, Comparison):
                kept[node.value] = None
        if not kept:
            return IsNull(field, negated=True) if negated else Constant(False)
        return Membership(field, tuple(kept), negated)

    def _value(self, field: str, kind: ScalarType, value: Any) -> Value | Decimal:
        if isinstance(value, np.generic):
            value = value.item()
        number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        if kind in ("int64", "float64") and number:
            if field in self._singles:
                with np.errstate(over="ignore"):
                    value = float(np.float32(value))
            exact = Decimal(value)
            if not exact.is_finite():
                raise ValueError("expected a number")
            return exact
        if kind == "bool" and isinstance(value, bool):
            return value
        if kind == "string" and isinstance(value, str):
            value.encode("utf-8")  # lone surrogates are no text
            return value
        if kind == "timestamp" and isinstance(value, datetime | str):
            return microseconds(value)
        wanted = "a datetime or ISO 8601 text" if kind == "timestamp" else f"a {kind}"
        raise ValueError(f"expected {wanted}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
