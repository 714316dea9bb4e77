"""The checked tree of a filter: negation lives in the leaves, and a leaf never matches a null (`IsNull` aside).

With NOT pushed down to the leaves, what is left (AND, OR, leaves) is monotone, so reading SQL's unknown as false gives
exactly the rows that SQL selects.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from connector.stores.base import ScalarType

Operator = Literal["==", "!=", "<", "<=", ">", ">="]
Wildcard = Literal["prefix", "suffix", "contains"]
Value = bool | int | float | str

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

COMPARE: dict[Operator, Any] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Constant:
    """Every row, or none."""

    value: bool


@dataclass(frozen=True)
class Comparison:
    """`field operator value`; timestamps are microseconds since 1970 UTC."""

    field: str
    operator: Operator
    value: Value

    def matches(self, value: Any) -> bool:
        """Whether a row that holds `value` (not null) is selected."""
        return bool(COMPARE[self.operator](value, self.value))


@dataclass(frozen=True)
class Membership:
    """`field [NOT] IN (values)`; values are of one type, at least one."""

    field: str
    values: tuple[Value, ...]
    negated: bool = False

    def matches(self, value: Any) -> bool:
        """Whether a row that holds `value` (not null) is selected."""
        return (value in self.values) != self.negated


@dataclass(frozen=True)
class Like:
    """`field [NOT] LIKE` with one fixed text at the start, at the end, or anywhere."""

    field: str
    wildcard: Wildcard
    text: str
    negated: bool = False

    def matches(self, value: Any) -> bool:
        """Whether a row that holds `value` (not null) is selected."""
        text = str(value)
        if self.wildcard == "prefix":
            found = text.startswith(self.text)
        elif self.wildcard == "suffix":
            found = text.endswith(self.text)
        else:
            found = self.text in text
        return found != self.negated


@dataclass(frozen=True)
class IsNull:
    """`field IS [NOT] NULL`."""

    field: str
    negated: bool = False


@dataclass(frozen=True)
class And:
    """All of two or more parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    """Any of two or more parts."""

    parts: tuple[Node, ...]


Leaf = Comparison | Membership | Like
Node = Constant | Comparison | Membership | Like | IsNull | And | Or


def all_of(parts: Iterable[Node]) -> Node:
    """Conjunction, constants folded."""
    kept: list[Node] = []
    for part in parts:
        if part == Constant(False):
            return part
        if part != Constant(True):
            kept.extend(part.parts if isinstance(part, And) else (part,))
    return kept[0] if len(kept) == 1 else And(tuple(kept)) if kept else Constant(True)


def any_of(parts: Iterable[Node]) -> Node:
    """Disjunction, constants folded."""
    kept: list[Node] = []
    for part in parts:
        if part == Constant(True):
            return part
        if part != Constant(False):
            kept.extend(part.parts if isinstance(part, Or) else (part,))
    return kept[0] if len(kept) == 1 else Or(tuple(kept)) if kept else Constant(False)


def leaves(node: Node) -> Iterator[Comparison | Membership | Like | IsNull]:
    """Every leaf that names a field, in order."""
    if isinstance(node, And | Or):
        for part in node.parts:
            yield from leaves(part)
    elif not isinstance(node, Constant):
        yield node


@dataclass(frozen=True)
class Filter:
    """A filter checked against declared fields.

    Attributes:
        tree: what it selects.
        types: field → type, of the fields it names.
        text: the SQL it was read from.
    """

    tree: Node
    types: Mapping[str, ScalarType]
    text: str = ""

    @property
    def fields(self) -> frozenset[str]:
        """Names of the fields it reads."""
        return frozenset(leaf.field for leaf in leaves(self.tree))
