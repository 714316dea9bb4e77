"""Literals of a filter: read under the type of the field they are compared with, and nothing is rounded unseen."""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from sqlglot import exp

from connector.stores.filters.tree import (
    INT64_MAX,
    INT64_MIN,
    Comparison,
    Constant,
    IsNull,
    Like,
    Membership,
    Node,
    Operator,
    Value,
)

if TYPE_CHECKING:
    from connector.stores.base import ScalarType

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
TIME_TYPES = {exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPTZ, exp.DataType.Type.TIMESTAMPNTZ}


ISO_8601 = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[ T](\d{2}:\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?)? ?(Z|[+-]\d{2}(?::?\d{2})?)?", re.ASCII
)


class Null:
    """The literal NULL."""


def literal(node: exp.Expr) -> str | Decimal | bool | datetime | Null:
    """A literal as it is written.

    Raises:
        ValueError: not a literal.
    """
    if isinstance(node, exp.Null):
        return Null()
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if isinstance(node, exp.Literal):
        return str(node.this) if node.is_string else _number(str(node.this))
    if isinstance(node, exp.Neg):
        value = literal(node.this)
        if isinstance(value, Decimal):
            return -value
    casts = isinstance(node, exp.Cast) and not any(node.args.get(name) for name in ("format", "safe", "default"))
    if isinstance(node, exp.Cast) and casts and isinstance(node.this, exp.Literal) and node.this.is_string:
        kind = node.to.this
        if kind in TIME_TYPES or kind == exp.DataType.Type.DATE:
            return _instant(str(node.this.this))
    raise ValueError("expected a literal")


def read_value(node: exp.Expr, kind: ScalarType) -> Value | Decimal | Null:
    """A literal as the type of its field needs it: timestamps become microseconds, numbers stay exact decimals.

    Raises:
        ValueError: not a literal, or of another type.
    """
    value = literal(node)
    if isinstance(value, Null):
        return value
    if kind == "timestamp" and isinstance(value, str | datetime):
        return microseconds(value)
    fits = {
        "bool": isinstance(value, bool),
        "int64": isinstance(value, Decimal),
        "float64": isinstance(value, Decimal),
        "string": isinstance(value, str),
    }
    if not fits.get(kind, False):
        wanted = "an ISO 8601 time in quotes" if kind == "timestamp" else f"a {kind}"
        raise ValueError(f"expected {wanted}, found {_shown(value)}")
    if isinstance(value, str):
        value.encode("utf-8")
    return value  # type: ignore[return-value]


def microseconds(moment: str | datetime) -> int:
    """A time, or one in ISO 8601, since 1970 UTC; UTC where it has no zone.

    Raises:
        ValueError: not a time.
    """
    if isinstance(moment, str):
        moment = _instant(moment)
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
    delta = aware - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def compare(field: str, kind: ScalarType, operator: Operator, value: Value | Decimal) -> Node:
    """`field operator value` as a node; integers against fractions or beyond 64 bits are rewritten exactly.

    Raises:
        ValueError: an order of booleans, or a number no float64 can hold.
    """
    if kind == "bool" and operator not in ("==", "!="):
        raise ValueError("booleans have no order; use = or <>")
    if kind == "float64":
        number = float(value)
        if not math.isfinite(number):
            raise ValueError("a number beyond the range of a float64")
        return Comparison(field, operator, number)
    if kind == "int64" and isinstance(value, Decimal):
        return _compare_integer(field, operator, value)
    assert not isinstance(value, Decimal)  # noqa: S101 - read_value gives decimals to numbers only
    return Comparison(field, operator, value)


def _compare_integer(field: str, operator: Operator, value: Decimal) -> Node:
    whole = math.floor(value)
    if whole != value:
        if operator == "==":
            return Constant(False)
        if operator == "!=":
            return IsNull(field, negated=True)
        return _compare_integer(field, "<=" if operator in ("<", "<=") else ">", Decimal(whole))
    if INT64_MIN <= whole <= INT64_MAX:
        return Comparison(field, operator, whole)
    above = whole > INT64_MAX
    everything = operator == "!=" or ((operator in ("<", "<=")) == above and operator != "==")
    return IsNull(field, negated=True) if everything else Constant(False)


def like(field: str, pattern: str, escape: str, negated: bool) -> Node:
    """A LIKE pattern with `%` at its ends only.

    Raises:
        ValueError: `_`, or `%` in the middle.
    """
    pattern.encode("utf-8")
    pieces: list[tuple[str, bool]] = []
    position = 0
    while position < len(pattern):
        sign = pattern[position]
        if escape and sign == escape:
            position += 1
            if position == len(pattern):
                raise ValueError("the pattern ends in its escape character")
            pieces.append((pattern[position], False))
        else:
            pieces.append((sign, sign in "%_"))
        position += 1
    starts = bool(pieces) and pieces[0] == ("%", True)
    ends = bool(pieces) and pieces[-1] == ("%", True)
    inner = [piece for piece in pieces if piece != ("%", True)]
    text = "".join(sign for sign, _ in inner)
    wild = sum(piece == ("%", True) for piece in pieces)
    if any(special for _, special in inner) or (text and wild != starts + ends):
        raise ValueError("LIKE takes text%, %text or %text%; escape other % and _ with ESCAPE")
    if not text:
        matches_all = wild > 0
        if matches_all:
            return Constant(False) if negated else IsNull(field, negated=True)
        return Comparison(field, "!=" if negated else "==", "")
    if starts and ends:
        return Like(field, "contains", text, negated)
    if starts:
        return Like(field, "suffix", text, negated)
    if ends:
        return Like(field, "prefix", text, negated)
    return Membership(field, (text,), negated)


def _number(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ValueError("expected a number") from error
    if not value.is_finite() or abs(value.adjusted()) > 400:
        raise ValueError("a number beyond the range of a float64")
    return value


def _instant(text: str) -> datetime:
    """ISO 8601 to the microsecond, on every Python alike; UTC where no offset is given."""
    found = ISO_8601.fullmatch(text.strip())
    if not found:
        raise ValueError(f"not an ISO 8601 time of at most microseconds: {text[:40]!r}")
    day, minute, second, fraction, offset = found.groups()
    zone = "+00:00" if offset in (None, "Z") else f"{offset[:3]}:{offset[3:].lstrip(':') or '00'}"
    try:
        value = datetime.fromisoformat(f"{day}T{minute or '00:00'}:{second or '00'}.{(fraction or '0'):0<6}{zone}")
        return value.astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"not a time: {text[:40]!r}") from error


def _shown(value: object) -> str:
    names = {str: "a string", Decimal: "a number", bool: "a boolean", datetime: "a time"}
    return next(name for kind, name in names.items() if isinstance(value, kind))
