"""Filters: what parses, what is refused and how, and that the tree selects what DuckDB selects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.errors import FilterError
from connector.stores.filters import (
    And,
    Comparison,
    Constant,
    IsNull,
    Like,
    Membership,
    Or,
    parse_filter,
    to_arrow,
    to_milvus,
)
from connector.testing.rows import TYPES
from tests.filter_cases import Oracle, conditions

FIELDS = {
    "item_id": "string",
    "title": "string",
    "price": "float64",
    "stock": "int64",
    "sold": "bool",
    "seen": "timestamp",
    "raw": "opaque",
}
FIRST_OF_MARCH = int(datetime(2026, 3, 1, tzinfo=timezone.utc).timestamp() * 1_000_000)


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    oracle = Oracle()
    yield oracle
    oracle.close()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=conditions(patterns=True))
def test_the_tree_selects_what_duckdb_selects(oracle: Oracle, condition: str) -> None:
    where = parse_filter(condition, FIELDS)
    assert sorted(oracle.rows.filter(to_arrow(where)).column("item_id").to_pylist()) == oracle.select(condition)
    assert isinstance(to_milvus(where), str)


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=60) | st.from_regex(r"[a-z_ ()<>=!'%,.0-9;*-]{0,60}"))
def test_any_text_is_a_filter_or_a_filter_error(text: str) -> None:
    with suppress(FilterError):
        to_milvus(parse_filter(text, FIELDS))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("price < 50", Comparison("price", "<", 50.0)),
        ("50 > price", Comparison("price", "<", 50.0)),
        ("PRICE < 50", Comparison("price", "<", 50.0)),
        ('"price" == 1', Comparison("price", "==", 1.0)),
        ("NOT NOT (price < 50)", Comparison("price", "<", 50.0)),
        ("NOT price < 50", Comparison("price", ">=", 50.0)),
        ("stock < 2.5", Comparison("stock", "<=", 2)),
        ("stock > -2.5", Comparison("stock", ">", -3)),
        ("stock <> 2.5", IsNull("stock", negated=True)),
        ("stock = 1e300", Constant(False)),
        ("stock = NULL OR NOT stock = NULL", Constant(False)),
        ("sold", Comparison("sold", "==", True)),
        ("NOT sold", Comparison("sold", "==", False)),
        ("title = 'it''s'", Comparison("title", "==", "it's")),
        ("title LIKE 'a%'", Like("title", "prefix", "a")),
        ("title LIKE '%a'", Like("title", "suffix", "a")),
        ("title NOT LIKE '%a%'", Like("title", "contains", "a", negated=True)),
        ("title LIKE 'a'", Membership("title", ("a",))),
        ("title LIKE '100!%%' ESCAPE '!'", Like("title", "prefix", "100%")),
        ("seen >= '2026-03-01'", Comparison("seen", ">=", FIRST_OF_MARCH)),
        ("seen >= DATE '2026-03-01'", Comparison("seen", ">=", FIRST_OF_MARCH)),
        ("seen >= '2026-03-01T01:00:00.5+01:00'", Comparison("seen", ">=", FIRST_OF_MARCH + 500_000)),
        ("stock IN (1, 2.0, 1, NULL, 2.5)", Membership("stock", (1, 2))),
        ("stock NOT IN (1, NULL)", Constant(False)),
        ("price < 1 AND TRUE AND stock > 2", And((Comparison("price", "<", 1.0), Comparison("stock", ">", 2)))),
        ("NOT (price < 1 AND stock > 2)", Or((Comparison("price", ">=", 1.0), Comparison("stock", "<=", 2)))),
        ("stock BETWEEN 1 AND 2", And((Comparison("stock", ">=", 1), Comparison("stock", "<=", 2)))),
        ("price IS NOT NULL -- a comment", IsNull("price", negated=True)),
    ],
)
def test_parsed(text: str, tree: object) -> None:
    assert parse_filter(text, FIELDS).tree == tree


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected one condition"),
        (";", "expected one condition"),
        ("price < 50; DROP TABLE items", "cannot be read"),
        ("price < 50; stock = 1", "expected one condition"),
        ("price <", "cannot be read"),
        ("price < 'a", "cannot be read"),
        ("colour = 'red'", "at character 1: unknown field 'colour'; declared fields: item_id, price"),
        ("price < 1 AND colour = 'red'", "at character 15"),
        ('"PRICE" < 50', "unknown field 'PRICE'"),
        ("items.price < 50", "expected a declared field|only comparisons"),
        ("raw = 'a'", "cannot be filtered|not filtered on"),
        ("price < 'cheap'", "field 'price' is float64: expected a float64, found a string"),
        ("title = 5", "field 'title' is string"),
        ("stock = TRUE", "field 'stock' is int64"),
        ("sold = 1", "field 'sold' is bool"),
        ("sold > FALSE", "no order"),
        ("seen > 5", "ISO 8601"),
        ("seen > 'yesterday'", "ISO 8601"),
        ("seen > '2026-13-01'", "not a time"),
        ("seen > '2026-03-01T00:00:00.1234567'", "microseconds"),
        ("seen > '0001-01-01T00:00:00+01:00'", "not a time"),
        ("price = 1e999", "range of a float64"),
        ("price = 'NaN'", "found a string"),
        ("price = stock", "expected a literal"),
        ("price + 1 < 5", "one side must be a field"),
        ("1 = 1", "one side must be a field"),
        ("abs(price) < 5", "one side must be a field"),
        ("price < abs(5)", "expected a literal"),
        ("price IN (SELECT price FROM items)", "only comparisons"),
        ("price IN (stock)", "expected a literal"),
        ("price IN ()", "only comparisons"),
        ("EXISTS (SELECT 1)", "only comparisons"),
        ("CASE WHEN sold THEN TRUE END", "only comparisons"),
        ("title ILIKE 'a%'", "only comparisons"),
        ("title ~ 'a'", "only comparisons"),
        ("title LIKE 'a_'", "escape other"),
        ("title LIKE 'a%b'", "escape other"),
        ("title LIKE ANY ('a', 'b')", "expected a literal"),
        ("title LIKE 'a!' ESCAPE '!'", "ends in its escape"),
        ("price LIKE 'a%'", "LIKE needs a string"),
        ("title = 'a' COLLATE nocase", "expected a literal"),
        ("title = ?", "expected a literal"),
        ("title", "not a boolean"),
        ("price IS TRUE", "after IS"),
        ("price IS DISTINCT FROM 1", "only comparisons"),
        ("price BETWEEN SYMMETRIC 5 AND 1", "only comparisons"),
        ("(" * 100 + "price < 1" + ")" * 100, "nested deeper"),
        ("(" * 30_000, "nested deeper"),
        ("stock IN (" + "1, " * 20_000 + "1)", "words and signs"),
        ("NOT " * 10_000 + "sold", "nested deeper"),
        ("price < " + "-" * 1 + " -" * 10_000 + "1", "nested deeper"),
        ("price < 1 " + " " * 70_000, "longer than 64 KiB"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(FilterError, match=reason) as error:
        parse_filter(text, FIELDS)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_long_chains_do_not_recurse() -> None:
    where = parse_filter(" OR ".join(["stock = 1"] * 4_000), FIELDS)
    assert isinstance(where.tree, Or)
    assert len(where.tree.parts) == 4_000
    assert to_milvus(where).count("stock == 1") == 4_000


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("price < 50", "price present and (price < 50.0)"),
        ("price > 50", "price > 50.0"),
        ("title = 'a\"\\'", 'title == "a\\"\\\\"'),
        ("title = ''", 'title present and (title == "")'),
        ("title IS NULL", "title null"),
        ("sold", "sold == true"),
        ("NOT sold", "sold present and (sold == false)"),
        ("title LIKE 'a%'", 'title >= "a" and title < "b"'),
        ("stock = -9223372036854775808", "stock < -9223372036854775807"),
        ("FALSE", "_key in []"),
        ("TRUE", ""),
        ("stock IN (1, 2) OR sold", "(stock in [1, 2]) or (sold == true)"),
    ],
)
def test_milvus_expression(text: str, expression: str) -> None:
    where = parse_filter(text, FIELDS)
    assert to_milvus(where, null_test=lambda name, null: f"{name} {'null' if null else 'present'}") == expression


def test_patterns_that_a_server_cannot_match_are_refused_by_name() -> None:
    where = parse_filter("title LIKE '%a'", FIELDS)
    assert to_milvus(where) == 'title like "%a"'
    with pytest.raises(FilterError, match=r"'title'.*Milvus 2\.4"):
        to_milvus(where, like=False)
    with pytest.raises(FilterError, match="backslash"):
        to_milvus(parse_filter("title LIKE '%a\\b%'", FIELDS))


def test_fields_are_those_of_the_rows() -> None:
    assert set(FIELDS) == {"item_id", *TYPES}
