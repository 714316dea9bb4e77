"""Scalar cells cast to the types that a view declares; a cell that does not fit costs its own row only."""

from __future__ import annotations

import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from connector.ingest.batch import cell, shown

# Milvus caps VARCHAR at 65,535 bytes; Feast hands timestamps to pandas, whose range is 1677 to 2262.
MAX_STRING_BYTES = 65_535
MAX_KEY_BYTES = 512
UTC_MICROSECONDS = pa.timestamp("us", "UTC")
_EARLIEST = pa.scalar(-9_214_560_000_000_000, pa.int64())
_LATEST = pa.scalar(9_214_646_400_000_000, pa.int64())

_SCALARS: dict[str, pa.DataType] = {
    "Bool": pa.bool_(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "Float32": pa.float32(),
    "Float64": pa.float64(),
    "String": pa.string(),
    "Bytes": pa.binary(),
    "UnixTimestamp": UTC_MICROSECONDS,
}
_CAST_ERRORS = (pa.ArrowException, ValueError, TypeError, OverflowError, RecursionError)


def arrow_type(dtype: str) -> pa.DataType | None:
    """Arrow type of a Feast type name (`Int64`, `Array(String)`, …), or None where ingest cannot fill it."""
    if dtype.startswith("Array(") and dtype.endswith(")"):
        inner = _SCALARS.get(dtype[6:-1])
        return None if inner is None else pa.list_(inner)
    return _SCALARS.get(dtype)


def cast_column(column: pa.Array, dtype: str) -> tuple[pa.Array, dict[int, str]]:
    """Cast a column to a Feast type.

    Numbers must fit without loss; text is parsed; NaN becomes null, since stores cannot filter on it; an infinity does
    not fit.

    Returns:
        array of n, null where a cell does not fit; and index → reason for those cells.
    """
    return _by_cell(column, _CONVERTERS.get(dtype, _to_list), arrow_type(dtype), f"does not fit {dtype}")


def cast_key(column: pa.Array, dtype: str) -> tuple[pa.Array, dict[int, str]]:
    """Cast a column to a join key: `String` takes text and whole numbers, integers take whole numbers and digits."""
    target = _SCALARS.get(dtype)
    return _by_cell(column, _key_converter(dtype), target, f"is no {dtype} key")


def event_times(column: pa.Array) -> tuple[pa.Array, dict[int, str]]:
    """Cast a column to event times; null is a failure too."""
    times, failures = _by_cell(column, _to_timestamp, UTC_MICROSECONDS, "is no time; give a timestamp or ISO 8601 text")
    for index in pc.indices_nonzero(times.is_null()).to_pylist():
        failures.setdefault(index, "null event time")
    return times, failures


Converter = Callable[[pa.Array, pa.DataType], pa.Array]


def _by_cell(
    column: pa.Array, convert: Converter, target: pa.DataType, complaint: str
) -> tuple[pa.Array, dict[int, str]]:
    """Convert the whole column; where that fails, halve it until the cells at fault are found."""
    if len(column) == column.null_count:
        return pa.nulls(len(column), target), {}
    try:
        return convert(column, target), {}
    except _CAST_ERRORS as error:
        detail = f" ({error})" if isinstance(error, _UnfitError) else ""
        if len(column) == 1 or isinstance(error, _UnfitTypeError):
            present = pc.indices_nonzero(column.is_valid()).to_pylist()
            failures = {index: f"{shown(cell(column, index))} {complaint}{detail}" for index in present}
            return pa.nulls(len(column), target), failures
    middle = len(column) // 2
    head, failures = _by_cell(column.slice(0, middle), convert, target, complaint)
    tail, later = _by_cell(column.slice(middle), convert, target, complaint)
    failures.update({index + middle: reason for index, reason in later.items()})
    return pa.concat_arrays([head, tail]), failures


class _UnfitError(ValueError):
    """A cell that does not fit, with a reason worth showing."""


class _UnfitTypeError(_UnfitError):
    """A type of which no cell fits."""


def is_text(kind: pa.DataType) -> bool:
    """Whether cells are strings or bytes."""
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_binary(kind) or pt.is_large_binary(kind))


def _checked_text(column: pa.Array) -> pa.Array:
    """Text or bytes as checked UTF-8 strings."""
    if pt.is_large_binary(column.type):
        column = column.view(pa.large_string())
    elif pt.is_binary(column.type):
        column = column.view(pa.string())
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise _UnfitError("not UTF-8") from error
    return column.cast(pa.string())


def _parseable(column: pa.Array) -> pa.Array:
    """Text without surrounding blanks, null where nothing is left; other types as they are."""
    if not is_text(column.type):
        return column
    trimmed = pc.utf8_trim_whitespace(_checked_text(column))
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _refuse(column: pa.Array, *tests: Callable[[pa.DataType], bool]) -> None:
    if any(test(column.type) for test in tests):
        raise _UnfitTypeError(f"a {column.type}")


def _without_nan(column: pa.Array) -> pa.Array:
    if not pt.is_floating(column.type):
        return column
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if pc.any(pc.is_inf(column)).as_py():
        raise _UnfitError("infinite")
    return column


def _to_bool(column: pa.Array, target: pa.DataType) -> pa.Array:
    _refuse(column, pt.is_temporal, pt.is_nested)
    column = _without_nan(_parseable(column))
    if pt.is_integer(column.type) or pt.is_floating(column.type) or pt.is_decimal(column.type):
        numbers = column.cast(pa.int8())
        if pc.any(pc.or_(pc.less(numbers, 0), pc.greater(numbers, 1))).as_py():
            raise _UnfitError("not 0 or 1")
        column = numbers
    return column.cast(target)


def _to_int(column: pa.Array, target: pa.DataType) -> pa.Array:
    _refuse(column, pt.is_temporal, pt.is_nested)
    return _without_nan(_parseable(column)).cast(target)


def _to_float(column: pa.Array, target: pa.DataType) -> pa.Array:
    _refuse(column, pt.is_temporal, pt.is_nested)
    return _without_nan(_without_nan(_parseable(column)).cast(target))


def _to_string(column: pa.Array, target: pa.DataType) -> pa.Array:
    _refuse(column, pt.is_nested)
    text = _checked_text(column) if is_text(column.type) else column.cast(target)
    longest = pc.max(pc.binary_length(text)).as_py() or 0
    if longest > MAX_STRING_BYTES:
        raise _UnfitError(f"{longest:,} bytes, the store takes {MAX_STRING_BYTES:,}")
    return text


def _to_bytes(column: pa.Array, target: pa.DataType) -> pa.Array:
    if not is_text(column.type) and not pt.is_null(column.type):
        raise _UnfitTypeError(f"a {column.type}")
    return column.cast(target)


def _to_timestamp(column: pa.Array, target: pa.DataType) -> pa.Array:
    column = _parseable(column)
    if is_text(column.type):
        column = _parse_times(column)
    elif not (pt.is_timestamp(column.type) or pt.is_date(column.type) or pt.is_null(column.type)):
        raise _UnfitTypeError(f"a {column.type}")
    if pt.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    if pt.is_timestamp(column.type) and column.type.tz is None:
        column = pc.assume_timezone(column, "UTC")
    # Nanoseconds are cut off; coarser units must not overflow.
    fine = pt.is_timestamp(column.type) and column.type.unit == "ns"
    times = pc.cast(column, target, safe=not fine)
    micros = times.cast(pa.int64())
    if pc.any(pc.or_(pc.less(micros, _EARLIEST), pc.greater(micros, _LATEST))).as_py():
        raise _UnfitError("outside the years 1678 to 2261")
    return times


def _parse_times(text: pa.Array) -> pa.Array:
    try:
        return text.cast(UTC_MICROSECONDS)
    except pa.ArrowInvalid:
        # Text without an offset is taken as UTC.
        return pc.assume_timezone(text.cast(pa.timestamp("us")), "UTC")


def _to_list(column: pa.Array, target: pa.DataType) -> pa.Array:
    if is_text(column.type):
        values = [None if text is None else json.loads(text) for text in _parseable(column).to_pylist()]
        column = pa.array(values, target)
    result = column.cast(target)
    result.validate(full=True)
    return result


def _key_converter(dtype: str) -> Converter:
    def convert(column: pa.Array, target: pa.DataType) -> pa.Array:
        _refuse(column, pt.is_temporal, pt.is_nested, pt.is_boolean)
        if pt.is_floating(column.type) or pt.is_decimal(column.type):
            # pandas turns integers into floats where a row is null.
            column = _without_nan(column).cast(pa.int64())
        if dtype != "String":
            return _to_int(column, target)
        text = _checked_text(column) if is_text(column.type) else column.cast(target)
        longest = pc.max(pc.binary_length(text)).as_py() or 0
        if longest > MAX_KEY_BYTES:
            raise _UnfitError(f"{longest:,} bytes, at most {MAX_KEY_BYTES}")
        return text

    return convert


_CONVERTERS: dict[str, Converter] = {
    "Bool": _to_bool,
    "Int32": _to_int,
    "Int64": _to_int,
    "Float32": _to_float,
    "Float64": _to_float,
    "String": _to_string,
    "Bytes": _to_bytes,
    "UnixTimestamp": _to_timestamp,
}
