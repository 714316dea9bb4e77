"""SQL WHERE text → checked tree. sqlglot parses; whatever is not on the short list below is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError

from connector.errors import FilterError
from connector.stores.filters.literals import Null, compare, like, literal, read_value
from connector.stores.filters.tree import (
    Comparison,
    Constant,
    Filter,
    IsNull,
    Membership,
    Node,
    Operator,
    Value,
    all_of,
    any_of,
)

if TYPE_CHECKING:
    from connector.stores.base import ScalarType

MAX_BYTES = 64 * 1024
MAX_DEPTH = 64
MAX_TOKENS = 32 * 1024
SHOWN = 60
KEPT_BYTES = 4 * 1024
ALLOWED = "only comparisons, IN, BETWEEN, LIKE, IS NULL, AND, OR and NOT can be used"

OPERATORS: dict[type[exp.Expr], Operator] = {
    exp.EQ: "==",
    exp.NEQ: "!=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
ARGUMENTS: dict[type[exp.Expr], frozenset[str]] = {
    exp.In: frozenset({"this", "expressions"}),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.Is: frozenset({"this", "expression", "negate"}),
    exp.Like: frozenset({"this", "expression", "negate"}),
    exp.Column: frozenset({"this"}),
}
MIRRORED: dict[Operator, Operator] = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
NEGATED: dict[Operator, Operator] = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def parse_filter(text: str, fields: Mapping[str, ScalarType]) -> Filter:
    """Read the condition of a SQL WHERE clause.

    Allowed: =, <>, !=, <, <=, >, >= between a declared field and a literal, IN, BETWEEN, LIKE with `%` at either end,
    IS NULL, boolean fields on their own, AND, OR, NOT, parentheses, TRUE, FALSE. Timestamp fields take ISO 8601 text,
    UTC unless it says otherwise. Nulls behave as in SQL: they match nothing, also under NOT.

    Args:
        fields: name → type of every field that may be used.

    Raises:
        FilterError: anything else; names the place and the declared fields.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise FilterError(f"filter: longer than {MAX_BYTES // 1024} KiB; shorten it")
    return (_read_again if size <= KEPT_BYTES else _read)(text, tuple(fields.items()))


def _read(text: str, fields: tuple[tuple[str, ScalarType], ...]) -> Filter:
    try:
        expression = _parse(text)
    except (SqlglotError, RecursionError, UnicodeError) as error:
        place = str(error).splitlines()[0][:120] if isinstance(error, SqlglotError) else type(error).__name__
        raise FilterError(f"filter: cannot be read as a SQL condition: {place}") from error
    reader = _Reader(dict(fields))
    tree = reader.read(expression, negated=False, depth=0)
    return Filter(tree, MappingProxyType(dict(reader.used)), text)


_read_again = lru_cache(maxsize=256)(_read)
"""An application asks with the same few conditions again and again; to read one takes longer than to search by it."""


def _parse(text: str) -> exp.Expr:
    dialect = sqlglot.Dialect.get_or_raise("duckdb")
    tokens = dialect.tokenize(text)
    _check_nesting(tokens)
    parsed = dialect.parser().parse_into(exp.Condition, tokens, text)
    if len(parsed) != 1 or parsed[0] is None:
        raise FilterError("filter: expected one condition, such as price < 50 AND category = 'dress'")
    return parsed[0]


def _check_nesting(tokens: list[Token]) -> None:
    """Refuse what would make a recursive parser recurse, before it does."""
    if len(tokens) > MAX_TOKENS:
        raise FilterError(f"filter: {len(tokens)} words and signs, the most is {MAX_TOKENS}; shorten it")
    depth = run = 0
    prefixes = {TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE}
    opening = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE}
    closing = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END}
    for token in tokens:
        depth += (token.token_type in opening) - (token.token_type in closing)
        run = run + 1 if token.token_type in prefixes else 0
        if depth > MAX_DEPTH or run > MAX_DEPTH:
            raise FilterError(f"filter: nested deeper than {MAX_DEPTH} levels at character {token.start + 1}")


class _Reader:
    """Walks sqlglot's tree once, checking as it goes; `negated` carries every NOT above down to the leaves."""

    def __init__(self, fields: Mapping[str, ScalarType]) -> None:
        self._fields = fields
        self.used: dict[str, ScalarType] = {}

    def read(self, node: exp.Expr, negated: bool, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._refuse(node, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, exp.Paren):
            return self.read(node.this, negated, depth + 1)
        if isinstance(node, exp.Not):
            return self.read(node.this, not negated, depth + 1)
        if isinstance(node, exp.And | exp.Or):
            parts = [self.read(part, negated, depth + 1) for part in _chain(node)]
            return all_of(parts) if isinstance(node, exp.And) != negated else any_of(parts)
        if isinstance(node, exp.Boolean):
            return Constant(bool(node.this) != negated)
        if isinstance(node, exp.Null):
            return Constant(False)
        return self._leaf(node, negated)

    def _leaf(self, node: exp.Expr, negated: bool) -> Node:
        if not _plain(node) or (isinstance(node, exp.Escape) and not _plain(node.this)):
            raise self._refuse(node, ALLOWED)
        if type(node) in OPERATORS:
            return self._comparison(node, negated)
        if isinstance(node, exp.Column):
            field = self._field(node)
            if self.used[field] != "bool":
                raise self._refuse(node, f"field {field!r} is not a boolean; compare it with something")
            return Comparison(field, "==", not negated)
        if isinstance(node, exp.Between):
            return self._between(node, negated)
        if isinstance(node, exp.In) and node.args.get("expressions"):
            return self._membership(node, negated)
        if isinstance(node, exp.Is):
            return self._is(node, negated)
        if isinstance(node, exp.Like):
            return self._like(node, None, negated)
        if isinstance(node, exp.Escape) and isinstance(node.this, exp.Like):
            return self._like(node.this, node.expression, negated)
        raise self._refuse(node, ALLOWED)

    def _comparison(self, node: exp.Expr, negated: bool) -> Node:
        left, right = _bare(node.this), _bare(node.expression)
        operator = OPERATORS[type(node)]
        if isinstance(right, exp.Column) and not isinstance(left, exp.Column):
            left, right, operator = right, left, MIRRORED[operator]
        if not isinstance(left, exp.Column):
            raise self._refuse(node, "one side must be a field and the other a literal")
        field = self._field(left)
        return self._compare(field, NEGATED[operator] if negated else operator, right)

    def _compare(self, field: str, operator: Operator, node: exp.Expr) -> Node:
        value = self._value(node, field)
        if isinstance(value, Null):
            return Constant(False)
        try:
            return compare(field, self.used[field], operator, value)
        except ValueError as error:
            raise self._refuse(node, str(error)) from error

    def _between(self, node: exp.Between, negated: bool) -> Node:
        field = self._field(node.this)
        low = self._compare(field, "<" if negated else ">=", node.args["low"])
        high = self._compare(field, ">" if negated else "<=", node.args["high"])
        return any_of((low, high)) if negated else all_of((low, high))

    def _membership(self, node: exp.In, negated: bool) -> Node:
        field = self._field(node.this)
        read = [self._value(item, field) for item in node.args["expressions"]]
        if negated and any(isinstance(value, Null) for value in read):
            return Constant(False)
        values: dict[Value, None] = {}
        for item, value in zip(node.args["expressions"], read, strict=True):
            if isinstance(value, Null):
                continue
            try:
                leaf = compare(field, self.used[field], "==", value)
            except ValueError as error:
                raise self._refuse(item, str(error)) from error
            if isinstance(leaf, Comparison):
                values[leaf.value] = None
        if not values:
            return IsNull(field, negated=True) if negated else Constant(False)
        return Membership(field, tuple(values), negated)

    def _is(self, node: exp.Is, negated: bool) -> Node:
        negated = negated != bool(node.args.get("negate"))
        field = self._field(node.this)
        if isinstance(node.expression, exp.Null):
            return IsNull(field, negated)
        if isinstance(node.expression, exp.Boolean) and self.used[field] == "bool":
            wanted = bool(node.expression.this)
            if not negated:
                return Comparison(field, "==", wanted)
            return any_of((Comparison(field, "==", not wanted), IsNull(field)))
        raise self._refuse(node, "after IS comes NULL, or TRUE or FALSE for a boolean field")

    def _like(self, node: exp.Like, escape: exp.Expr | None, negated: bool) -> Node:
        negated = negated != bool(node.args.get("negate"))
        field = self._field(node.this)
        if self.used[field] != "string":
            raise self._refuse(node, f"LIKE needs a string field, {field!r} is {self.used[field]}")
        try:
            pattern = literal(node.expression)
            mark = literal(escape) if escape is not None else ""
            if isinstance(pattern, Null):
                return Constant(False)
            if not isinstance(pattern, str) or not isinstance(mark, str) or len(mark) > 1:
                raise ValueError("LIKE takes a string and a single ESCAPE character")
            return like(field, pattern, mark, negated)
        except ValueError as error:
            raise self._refuse(node, str(error)) from error

    def _value(self, node: exp.Expr, field: str) -> Value | Decimal | Null:
        try:
            return read_value(_bare(node), self.used[field])
        except ValueError as error:
            raise self._refuse(node, f"field {field!r} is {self.used[field]}: {error}") from error

    def _field(self, node: exp.Expr) -> str:
        node = _bare(node)
        if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier) or not _plain(node):
            raise self._refuse(node, "expected a declared field")
        name = self._spelled(node.this)
        if name is None:
            raise self._refuse(node, f"unknown field {node.name[:SHOWN]!r}")
        if self._fields[name] == "opaque":
            raise self._refuse(node, f"field {name!r} can be returned but not filtered on")
        self.used[name] = self._fields[name]
        return name

    def _spelled(self, identifier: exp.Identifier) -> str | None:
        """As declared: exactly, or, where it is not quoted, in any case, as SQL has it."""
        name = identifier.name
        if name in self._fields:
            return name
        alike = [field for field in self._fields if field.casefold() == name.casefold()]
        return alike[0] if len(alike) == 1 and not identifier.args.get("quoted") else None

    def _refuse(self, node: exp.Expr, reason: str) -> FilterError:
        starts = [part.meta["start"] for part in node.walk() if "start" in part.meta]
        place = f" at character {min(starts) + 1}" if starts else ""
        declared = ", ".join(sorted(name for name, kind in self._fields.items() if kind != "opaque")) or "none"
        return FilterError(f"filter{place}: {reason}; declared fields: {declared}")


def _plain(node: exp.Expr) -> bool:
    """Whether the node carries nothing that this reader does not look at (NOT LIKE is a Like with an extra mark)."""
    expected = ARGUMENTS.get(type(node), frozenset({"this", "expression"}))
    return all(name in expected for name, value in node.args.items() if value)


def _bare(node: exp.Expr) -> exp.Expr:
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def _chain(node: exp.And | exp.Or) -> list[exp.Expr]:
    """Operands of a run of one connective, without recursion: sqlglot nests a AND b AND c to the left."""
    kind = type(node)
    parts: list[exp.Expr] = []
    current: exp.Expr = node
    while type(current) is kind:
        parts.append(current.expression)
        current = current.this
    return [current, *reversed(parts)]
