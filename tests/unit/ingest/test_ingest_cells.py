"""Cells are cast or named; nothing is lost in silence."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.ingest.arrays import tolerant_array
from connector.ingest.cells import MAX_STRING_BYTES, arrow_type, cast_column, cast_key, event_times
from connector.ingest.vectors import read_vectors, vector_faults

TYPES = ("Bool", "Int32", "Int64", "Float32", "Float64", "String", "Bytes", "UnixTimestamp", "Array(String)")
BAD = object()


def raw(*cells: bytes | None) -> pa.Array:
    return pa.array(cells, pa.binary()).view(pa.string())


@pytest.mark.parametrize(
    ("column", "dtype", "expected"),
    [
        (pa.array([1, 2**31, None]), "Int32", [1, BAD, None]),
        (pa.array([1.0, 1.5, np.nan, np.inf]), "Int64", [1, BAD, None, BAD]),
        (pa.array(["7", " 8 ", "", "x", "9" * 30, None]), "Int64", [7, 8, None, BAD, BAD, None]),
        (pa.array([True, False]), "Int64", [1, 0]),
        (pa.array([1.5, np.nan, np.inf, -np.inf, None]), "Float64", [1.5, None, BAD, BAD, None]),
        (pa.array([1.5, 1e300]), "Float32", [1.5, BAD]),
        (pa.array(["1e3", "nan", "inf", "one"]), "Float64", [1000.0, None, BAD, BAD]),
        (pa.array([2**53 + 1, 3]), "Float64", [BAD, 3.0]),
        (pa.array([Decimal("1.50"), Decimal("2.25")]), "Float64", [1.5, 2.25]),
        (pa.array(["true", "FALSE", "1", "0", "yes", ""]), "Bool", [True, False, True, False, BAD, None]),
        (pa.array([0, 1, 2, -1]), "Bool", [False, True, BAD, BAD]),
        (pa.array([datetime(2020, 1, 1)]), "Int64", [BAD]),
        (pa.array([1, None]), "String", ["1", None]),
        (raw(b"ok", b"\xff", b"\xc3\xa9"), "String", ["ok", BAD, "é"]),
        (pa.array([b"ok", b"\xff"]), "String", ["ok", BAD]),
        (pa.array(["x" * MAX_STRING_BYTES, "x" * (MAX_STRING_BYTES + 1)]), "String", ["x" * MAX_STRING_BYTES, BAD]),
        (pa.array([["a"], None]), "String", [BAD, None]),
        (pa.array(["a", None]), "Bytes", [b"a", None]),
        (pa.array([3]), "Bytes", [BAD]),
        (pa.array([["a", None], None, []]), "Array(String)", [["a", None], None, []]),
        (pa.array(['["a"]', "no", ""]), "Array(String)", [["a"], BAD, None]),
        (pa.array([[1, 2]]), "Array(Int64)", [[1, 2]]),
        (pa.array([{"a": 1}, None]), "Int64", [BAD, None]),
        (pa.nulls(2), "Int64", [None, None]),
        (pa.nulls(2), "Array(String)", [None, None]),
    ],
)
def test_casts(column: pa.Array, dtype: str, expected: list[Any]) -> None:
    result, failures = cast_column(column, dtype)
    assert result.type == arrow_type(dtype)
    assert [BAD if at in failures else value for at, value in enumerate(result.to_pylist())] == expected
    assert all("\n" not in reason and len(reason) < 300 for reason in failures.values())


def test_a_reason_shows_the_value_and_the_type() -> None:
    assert cast_column(pa.array(["cheap" * 100]), "Float64")[1][0].startswith("'cheapcheap")
    assert "Float64" in cast_column(pa.array(["cheap"]), "Float64")[1][0]
    assert "\x1b" not in cast_column(pa.array(["\x1b[31mred"]), "Float64")[1][0]


@pytest.mark.parametrize(
    ("column", "dtype", "expected"),
    [
        (pa.array([1, 2]), "String", ["1", "2"]),
        (pa.array([1.0, 2.5, np.nan]), "String", ["1", BAD, None]),
        (pa.array([True]), "String", [BAD]),
        (pa.array([datetime(2020, 1, 1)]), "String", [BAD]),
        (pa.array([["a"]]), "String", [BAD]),
        (raw(b"a", b"\xff", None), "String", ["a", BAD, None]),
        (pa.array(["x" * 512, "x" * 513]), "String", ["x" * 512, BAD]),
        (pa.array(["1", "x", "-3"]), "Int64", [1, BAD, -3]),
        (pa.array([2**63 - 1], pa.uint64()), "Int64", [2**63 - 1]),
        (pa.array([2**63], pa.uint64()), "Int64", [BAD]),
    ],
)
def test_keys(column: pa.Array, dtype: str, expected: list[Any]) -> None:
    result, failures = cast_key(column, dtype)
    assert [BAD if at in failures else value for at, value in enumerate(result.to_pylist())] == expected


NOON = datetime(2024, 5, 6, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([NOON], pa.timestamp("s", "UTC")),
        pa.array([NOON], pa.timestamp("ns", "America/New_York")),
        pa.array([datetime(2024, 5, 6, 12)], pa.timestamp("ms")),
        pa.array(["2024-05-06T12:00:00Z"]),
        pa.array(["2024-05-06 12:00:00"]),
        pa.array(["2024-05-06T14:00:00+02:00"]),
    ],
    ids=lambda column: str(column.type),
)
def test_event_times_of_every_unit_and_zone(column: pa.Array) -> None:
    times, failures = event_times(column)
    assert (times.to_pylist(), failures) == ([NOON], {})
    assert times.type == pa.timestamp("us", "UTC")


def test_event_times_that_are_none() -> None:
    cells = pa.array(["2024-05-06", "yesterday", None, "9999-01-01T00:00:00", "2024-05-06T12:00:00+02:00"])
    times, failures = event_times(cells)
    assert set(failures) == {1, 2, 3}
    assert [t is None for t in times.to_pylist()] == [False, True, True, True, False]
    assert set(event_times(pa.array([1, 2]))[1]) == {0, 1}
    assert event_times(pa.array([date(2024, 5, 6)]))[1] == {}
    assert set(event_times(pa.array([2**62], pa.timestamp("s")))[1]) == {0}


cells_of_any_kind = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.lists(st.one_of(st.floats(), st.none(), st.text(max_size=2)), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(0, 9), max_size=2),
    st.datetimes(),
    st.decimals(),
)


@given(cells=st.lists(cells_of_any_kind, max_size=12), dtype=st.sampled_from(TYPES))
@settings(max_examples=300, deadline=None)
def test_no_cell_raises_and_none_is_lost(cells: list[Any], dtype: str) -> None:
    column = tolerant_array(cells)
    assert len(column) == len(cells)
    for cast in (cast_column, cast_key) if dtype in ("String", "Int64") else (cast_column,):
        result, failures = cast(column, dtype)
        assert len(result) == len(cells)
        assert result.type == arrow_type(dtype)
        result.validate(full=True)
        assert all(result[at].as_py() is None for at in failures)


@given(cells=st.lists(cells_of_any_kind, max_size=12), dimension=st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_every_vector_cell_is_a_vector_a_reason_or_absent(cells: list[Any], dimension: int) -> None:
    column = tolerant_array(cells)
    candidates = np.arange(len(cells), dtype=np.int64)
    rows, vectors, failures = read_vectors(column, dimension, "COSINE", candidates)
    assert vectors.shape == (len(rows), dimension)
    assert np.isfinite(vectors).all()
    accounted = {*rows.tolist(), *failures}
    assert len(accounted) == len(rows) + len(failures)
    # JSON may say null, too.
    nothing = [not cell or (isinstance(cell, str | bytes) and cell.strip() in ("null", b"null")) for cell in cells]
    assert all(not column[at].is_valid or nothing[at] for at in {*range(len(cells))} - accounted)


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.int64()])
@pytest.mark.parametrize("shape", ["list", "large", "fixed"])
def test_vectors_of_every_width(kind: pa.DataType, shape: str) -> None:
    lists = {"list": pa.list_(kind), "large": pa.large_list(kind), "fixed": pa.list_(kind, 2)}[shape]
    values = [np.float16(v) if kind == pa.float16() else v for v in (1, 2, 3, 4)]
    column = pa.array([values[:2], None, values[2:]], lists)
    rows, vectors, failures = read_vectors(column, 2, "L2", np.array([0, 1, 2]))
    assert rows.tolist() == [0, 2]
    assert vectors.tolist() == [[1, 2], [3, 4]]
    assert failures == {}


def test_bad_vectors_are_named_by_row() -> None:
    cells = [[1.0, 2.0], [1.0], [1.0, float("nan")], [float("inf"), 0.0], [0.0, 0.0], [None, 1.0], [1e300, 0.0], None]
    candidates = np.array([0, 2, 3, 4, 5, 6, 7])
    rows, vectors, failures = read_vectors(pa.array(cells), 2, "COSINE", candidates)
    assert (rows.tolist(), vectors.tolist()) == ([0], [[1, 2]])
    assert set(failures) == {2, 3, 4, 5, 6}
    assert "direction" in failures[4]
    only = read_vectors(pa.array(cells), 2, "IP", np.array([1, 4]))
    assert only[0].tolist() == [4]
    assert only[2] == {1: "1 numbers, the space has dimension 2"}


def test_vectors_written_as_json() -> None:
    rows, vectors, failures = read_vectors(
        pa.array(["[1, 2]", "[1, null]", "x", "", "[" * 9999, "null", None]), 2, "L2", np.arange(7)
    )
    assert (rows.tolist(), vectors.tolist()) == ([0], [[1, 2]])
    assert set(failures) == {1, 2, 4}


@pytest.mark.parametrize("text", ['{"0": 1, "1": 2}', '"12"', "[true, false]", '["1", "2"]', "[[1], [2]]", "12"])
def test_other_json_is_no_vector(text: str) -> None:
    rows, _, failures = read_vectors(pa.array([text]), 2, "L2", np.arange(1))
    assert (rows.tolist(), set(failures)) == ([], {0})


def test_lists_of_truth_values_are_no_vectors() -> None:
    _, _, failures = read_vectors(pa.array([[True, False]]), 2, "L2", np.arange(1))
    assert "is no vector" in failures[0]


@pytest.mark.parametrize("size", [3e38, 1e20, 1e-20, 1e-38])
def test_vectors_whose_squares_leave_float32_have_no_cosine(size: float) -> None:
    vectors = np.full((1, 8), size, dtype=np.float32)
    assert "scale it" in vector_faults(vectors, "COSINE")[0]
    assert vector_faults(vectors, "L2") == {}
