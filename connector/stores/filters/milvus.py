"""Tree → Milvus boolean expression, in the part of the language that Milvus 2.3, later servers and Milvus Lite share.

What the servers do not share is rewritten: constants do not parse on 2.3 (an impossible key stands in), LIKE knows
prefixes only there (a range of strings says the same), -2^63 cannot be written, and a null is a default value with a
mark in another column, which the store's layout knows how to test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connector.errors import FilterError
from connector.stores.filters.tree import (
    INT64_MIN,
    And,
    Comparison,
    Constant,
    Filter,
    IsNull,
    Leaf,
    Like,
    Membership,
    Node,
    Or,
)

DEFAULTS: dict[str, Any] = {"bool": False, "int64": 0, "float64": 0.0, "string": "", "timestamp": 0}
NOTHING = "_key in []"
EVERYTHING = f"_event_ts > {INT64_MIN + 1}"
LAST = chr(0x10FFFF)


def to_milvus(
    where: Filter,
    *,
    column: Callable[[str], str] = lambda name: name,
    null_test: Callable[[str, bool], str | None] = lambda _name, _null: None,
    like: bool = True,
) -> str:
    """Milvus expression that selects the same rows; empty when every row is selected.

    Args:
        column: field → Milvus column.
        null_test: field and whether → condition that it is null, or is not; None for fields that never are null.
        like: whether the server matches suffixes and infixes (Milvus from 2.4 on, and Milvus Lite).

    Raises:
        FilterError: a pattern that this server cannot match.
    """
    if where.tree == Constant(True):
        return ""
    return _Compiler(where, column, null_test, like).node(where.tree)


ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def quote(text: str) -> str:
    """A Milvus string literal."""
    return f'"{text.translate(ESCAPES)}"'


def show(value: Any) -> str:
    """A Milvus literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(value) if isinstance(value, str) else repr(value)


class _Compiler:
    def __init__(
        self, where: Filter, column: Callable[[str], str], null_test: Callable[[str, bool], str | None], like: bool
    ) -> None:
        self._types = where.types
        self._column = column
        self._null_test = null_test
        self._like = like

    def node(self, node: Node) -> str:
        if isinstance(node, And):
            return " and ".join(f"({self.node(part)})" for part in node.parts)
        if isinstance(node, Or):
            return " or ".join(f"({self.node(part)})" for part in node.parts)
        if isinstance(node, Constant):
            return EVERYTHING if node.value else NOTHING
        if isinstance(node, IsNull):
            return self._null_test(node.field, not node.negated) or (EVERYTHING if node.negated else NOTHING)
        return self._guarded(node)

    def _guarded(self, leaf: Leaf) -> str:
        """Null is asked after only where the default value, which stands for it, would match."""
        condition = self._condition(leaf)
        present = self._null_test(leaf.field, False)
        if present is None or not leaf.matches(DEFAULTS[self._types[leaf.field]]):
            return condition
        return f"{present} and ({condition})"

    def _condition(self, leaf: Leaf) -> str:
        column = self._column(leaf.field)
        if isinstance(leaf, Comparison):
            if leaf.value == INT64_MIN and not isinstance(leaf.value, float):
                return self._around_minimum(column, leaf)
            return f"{column} {leaf.operator} {show(leaf.value)}"
        if isinstance(leaf, Membership):
            if INT64_MIN in leaf.values and self._types[leaf.field] != "float64":
                each = [self._condition(Comparison(leaf.field, "==", value)) for value in leaf.values]
                listed = " or ".join(f"({condition})" for condition in each)
                return f"not ({listed})" if leaf.negated else listed
            values = ", ".join(show(value) for value in leaf.values)
            return f"{column} {'not in' if leaf.negated else 'in'} [{values}]"
        return self._pattern(column, leaf)

    def _around_minimum(self, column: str, leaf: Comparison) -> str:
        above = f"{column} >= {INT64_MIN + 1}"
        below = f"{column} < {INT64_MIN + 1}"
        return {"==": below, "<=": below, "!=": above, ">": above, "<": NOTHING, ">=": EVERYTHING}[leaf.operator]

    def _pattern(self, column: str, leaf: Like) -> str:
        if leaf.wildcard == "prefix":
            return _prefix(column, leaf)
        if not self._like:
            raise FilterError(
                f"filter: field {leaf.field!r}: this Milvus server matches LIKE 'text%' only; "
                "patterns that start with % need Milvus 2.4 or later"
            )
        if "\\" in leaf.text:
            raise FilterError(
                f"filter: field {leaf.field!r}: Milvus cannot match a backslash in a LIKE pattern that starts with %; "
                "use LIKE 'text%' or ="
            )
        text = leaf.text.replace("%", "\\%").replace("_", "\\_")
        pattern = quote(f"%{text}%" if leaf.wildcard == "contains" else f"%{text}")
        return f"not ({column} like {pattern})" if leaf.negated else f"{column} like {pattern}"


def _prefix(column: str, leaf: Like) -> str:
    """Strings compare by code point on every server, so a prefix is a range."""
    after = _after(leaf.text)
    low = quote(leaf.text)
    if leaf.negated:
        return f"{column} < {low}" + (f" or {column} >= {quote(after)}" if after else "")
    return f"{column} >= {low}" + (f" and {column} < {quote(after)}" if after else "")


def _after(text: str) -> str:
    """The least string above every string that starts with `text`; empty where there is none."""
    kept = text.rstrip(LAST)
    if not kept:
        return ""
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if 0xD800 <= following <= 0xDFFF else following)
