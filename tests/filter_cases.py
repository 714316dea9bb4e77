"""Random filters as SQL text, and what DuckDB selects by them."""

from __future__ import annotations

import duckdb
import pyarrow as pa
from hypothesis import strategies as st

from connector.testing.rows import HOSTILE, mixed_rows

WORDS = ("red dress", "Red shoes", "blue dress", "shirt", "scarf", "red", "", "z", *HOSTILE)
TIMES = ("2026-03-01T12:00:00Z", "2026-02-28", "2026-03-02 13:00:00+01:00", "2026-03-03 00:00:00.000001")
NUMBERS = ("0", "1", "-2", "1.5", "-0.5", "50", "9.99", "0.1", "1e3", "-9223372036854775808", "99999999999999999999")
ORDER = ("=", "<>", "!=", "<", "<=", ">", ">=")
MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _literals(field: str) -> st.SearchStrategy[str]:
    if field in ("price", "stock"):
        return st.sampled_from(NUMBERS)
    if field == "seen":
        return st.sampled_from(TIMES).map(_quote)
    if field == "sold":
        return st.sampled_from(("TRUE", "FALSE"))
    if field == "item_id":
        return st.integers(0, 130).map(lambda row: _quote(f"i{row}"))
    return st.sampled_from(WORDS).map(_quote)


@st.composite
def _leaves(draw: st.DrawFn, patterns: bool) -> str:
    field = draw(st.sampled_from(("price", "stock", "sold", "title", "seen", "item_id")))
    literal = _literals(field)
    null_too = st.one_of(literal, literal, literal, st.just("NULL"))
    forms = ["compare", "in", "null"]
    if field == "sold":
        forms += ["bare", "is"]
    else:
        forms.append("between")
    if field == "title":
        forms.append("like")
    form = draw(st.sampled_from(forms))
    negation = draw(st.sampled_from(("", "NOT ")))
    if form == "compare":
        operator = draw(st.sampled_from(ORDER[:3] if field == "sold" else ORDER))
        value = draw(null_too)
        if draw(st.booleans()):
            return f"{field} {operator} {value}"
        return f"{value} {MIRROR.get(operator, operator)} {field}"
    if form == "in":
        values = draw(st.lists(null_too, min_size=1, max_size=4))
        return f"{field} {negation}IN ({', '.join(values)})"
    if form == "between":
        return f"{field} {negation}BETWEEN {draw(literal)} AND {draw(literal)}"
    if form == "null":
        return f"{field} IS {negation}NULL"
    if form == "is":
        return f"{field} IS {negation}{draw(st.sampled_from(('TRUE', 'FALSE')))}"
    if form == "like":
        return _pattern(draw, field, negation, patterns)
    return f"{negation}{field}"


def _pattern(draw: st.DrawFn, field: str, negation: str, patterns: bool) -> str:
    word = draw(st.sampled_from(WORDS))
    cut = draw(st.integers(0, len(word)))
    text = word[:cut].replace("!", "!!").replace("%", "!%").replace("_", "!_")
    shapes = ("{}%", "{}", "%{}", "%{}%") if patterns and "\\" not in text else ("{}%", "{}")
    pattern = draw(st.sampled_from(shapes)).format(text)
    return f"{field} {negation}LIKE {_quote(pattern)} ESCAPE '!'"


def conditions(*, patterns: bool) -> st.SearchStrategy[str]:
    """Conditions over `mixed_rows()`.

    Args:
        patterns: LIKE with `%` at the start, too (not with backslashes, which Milvus does not match there).
    """
    leaf = st.one_of(_leaves(patterns), st.sampled_from(("TRUE", "FALSE")))
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(("AND", "OR", "and")), inner).map(" ".join),
            inner.map(lambda text: f"NOT ({text})"),
            inner.map(lambda text: f"({text})"),
        ),
        max_leaves=6,
    )


class Oracle:
    """DuckDB over `mixed_rows()`."""

    def __init__(self) -> None:
        self.rows: pa.Table = mixed_rows()
        self._database = duckdb.connect()
        self._database.execute("SET TimeZone = 'UTC'")
        self._database.register("rows", self.rows.select(["item_id", "title", "price", "stock", "sold", "seen"]))
        self._database.execute("CREATE TABLE items AS SELECT * FROM rows")

    def select(self, condition: str) -> list[str]:
        """Keys of the rows that the condition selects, sorted."""
        found = self._database.execute(f"SELECT item_id FROM items WHERE {condition}").fetchall()  # noqa: S608
        return sorted(key for (key,) in found)

    def close(self) -> None:
        self._database.close()
