"""Arrow columns of a row table, brought to the types of their collection and checked row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connector.errors import BadRowsError, StoreError
from connector.spaces import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from connector.stores.base import CollectionSpec, ScalarField
from connector.stores.filters.arrow import ARROW_TYPES
from connector.stores.keys import encode_keys, key_column
from connector.stores.layout import MAX_STRING_BYTES, NO_CREATED, NO_VECTOR_DIMENSION

EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
OPAQUE_BYTES = MAX_STRING_BYTES // 4 * 3


@dataclass
class Columns:
    """Rows ready to be written.

    Attributes:
        keys: encoded keys.
        scalars: key and field columns under their declared types; NaN has become null.
        vectors: float32 [n, dimension].
        event: int64 [n], microseconds since 1970 UTC.
        created: int64 [n], likewise; `NO_CREATED` where there is none.
        problems: row → reason it cannot be written.
    """

    keys: list[str | None]
    scalars: dict[str, pa.Array]
    vectors: NDArray[np.float32]
    event: NDArray[np.int64]
    created: NDArray[np.int64]
    problems: dict[int, str] = field(default_factory=dict)


def bad_rows(spec: CollectionSpec, rows: pa.Table) -> dict[int, str]:
    """Rows that `VectorStore.write` would refuse, with their reasons; empty when all are fine.

    Raises:
        StoreError: the table as a whole does not fit: a column missing, unknown or of another type.
    """
    return read_columns(spec, rows).problems


def require_good(spec: CollectionSpec, columns: Columns) -> None:
    """Raise `BadRowsError`, naming the first bad row, if there is one."""
    if columns.problems:
        first = min(columns.problems)
        more = f" (and {len(columns.problems) - 1} more rows)" if len(columns.problems) > 1 else ""
        raise BadRowsError(
            f"collection {spec.name}: row {first}: {columns.problems[first]}{more}; nothing was written",
            columns.problems,
        )


def read_columns(spec: CollectionSpec, rows: pa.Table) -> Columns:
    """Bring a table to the shape of `spec`.

    Raises:
        StoreError: a column is missing, unknown or of another type.
    """
    expected = {scalar.name for scalar in (*spec.keys, *spec.fields)} | {EVENT_TIMESTAMP}
    if spec.vector is not None:
        expected.add(spec.vector.name)
    missing, unknown = expected - set(rows.column_names), set(rows.column_names) - expected - {CREATED_TIMESTAMP}
    if missing or unknown:
        raise StoreError(
            f"collection {spec.name}: the rows lack columns {sorted(missing)} or have unknown ones {sorted(unknown)}"
        )
    problems: dict[int, str] = {}
    keys = encode_keys(spec, rows)
    scalars = {key.name: _whole(key_column(spec, rows, key.name)) for key in spec.keys}
    for position, key in enumerate(keys):
        if key is None:
            problems[position] = "the key is null"
        elif len(key) > MAX_STRING_BYTES // 4 and len(key.encode()) > MAX_STRING_BYTES:
            problems[position] = f"the key is longer than {MAX_STRING_BYTES} bytes"
    for scalar in spec.fields:
        scalars[scalar.name] = _scalar(spec, rows, scalar)
        _check_length(scalar, scalars[scalar.name], problems)
    if spec.keyword_fields:
        lengths = pc.binary_length(keyword_texts(spec, scalars)).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(lengths > MAX_STRING_BYTES):
            which = ", ".join(spec.keyword_fields)
            problems.setdefault(
                int(row), f"keyword fields {which} have {lengths[row]} bytes together, the most is {MAX_STRING_BYTES}"
            )
    event = _microseconds(spec, rows, EVENT_TIMESTAMP)
    for row in np.flatnonzero((event < EARLIEST) | (event > LATEST)):
        found = "null" if event[row] == NO_CREATED else "outside the years 1 to 9999"
        problems.setdefault(int(row), f"{EVENT_TIMESTAMP} is {found}")
    return Columns(
        keys=keys,
        scalars=scalars,
        vectors=_vectors(spec, rows, problems),
        event=event,
        created=_microseconds(spec, rows, CREATED_TIMESTAMP),
        problems=problems,
    )


def keyword_texts(spec: CollectionSpec, scalars: Mapping[str, pa.Array]) -> pa.Array:
    """Texts of the keyword fields of each row, a line each; nulls left out."""
    texts = [scalars[name] for name in spec.keyword_fields]
    # Arrow leaves a row out of the answer altogether where every one of its texts is null.
    nothing = reduce(pc.and_, [text.is_null() for text in texts])
    texts[0] = pc.if_else(nothing, "", texts[0])
    return pc.binary_join_element_wise(*texts, "\n", null_handling="skip")


def _scalar(spec: CollectionSpec, rows: pa.Table, scalar: ScalarField) -> pa.Array:
    column = _whole(rows.column(scalar.name))
    kind = ARROW_TYPES[scalar.type]
    if not _fits(column.type, scalar.type):
        raise StoreError(f"collection {spec.name}: field {scalar.name!r} is {column.type}, expected {kind}")
    try:
        column = column.cast(kind, safe=scalar.type != "timestamp")
    except pa.ArrowException as error:
        raise StoreError(f"collection {spec.name}: field {scalar.name!r}: {str(error).splitlines()[0]}") from error
    if scalar.type == "float64":
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
    return column


def _fits(given: pa.DataType, wanted: str) -> bool:
    kinds = pa.types
    if kinds.is_null(given):
        return True
    if kinds.is_dictionary(given):
        given = given.value_type
    text = kinds.is_string(given) or kinds.is_large_string(given) or kinds.is_string_view(given)
    blob = kinds.is_binary(given) or kinds.is_large_binary(given) or kinds.is_binary_view(given)
    fits: dict[str, bool] = {
        "bool": kinds.is_boolean(given),
        "int64": kinds.is_integer(given),
        "float64": kinds.is_integer(given) or kinds.is_floating(given),
        "string": text,
        "timestamp": kinds.is_timestamp(given) or kinds.is_date(given),
        "opaque": blob,
    }
    return fits[wanted]


def _check_length(scalar: ScalarField, column: pa.Array, problems: dict[int, str]) -> None:
    if scalar.type not in ("string", "opaque"):
        return
    most = MAX_STRING_BYTES if scalar.type == "string" else OPAQUE_BYTES
    lengths = pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(lengths > most):
        problems.setdefault(int(row), f"field {scalar.name!r} has {lengths[row]} bytes, the most is {most}")


def _microseconds(spec: CollectionSpec, rows: pa.Table, name: str) -> NDArray[np.int64]:
    if name not in rows.column_names:
        return np.full(rows.num_rows, NO_CREATED, np.int64)
    column = _scalar(spec, rows.select([name]), ScalarField(name, "timestamp"))
    values: NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), NO_CREATED).to_numpy(zero_copy_only=False)
    return values


def _vectors(spec: CollectionSpec, rows: pa.Table, problems: dict[int, str]) -> NDArray[np.float32]:
    if spec.vector is None:
        return np.zeros((rows.num_rows, NO_VECTOR_DIMENSION), np.float32)
    name, dimension = spec.vector.name, spec.vector.dimension
    column = _whole(rows.column(name))
    kind = column.type
    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if pa.types.is_null(kind):
        problems.update(dict.fromkeys(range(rows.num_rows), f"vector {name!r} is null"))
        return np.zeros((rows.num_rows, dimension), np.float32)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise StoreError(f"collection {spec.name}: vector {name!r} is {kind}, expected a list of float32")
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(lengths != dimension):
        found = "is null" if lengths[row] < 0 else f"has {lengths[row]} numbers, expected {dimension}"
        problems.setdefault(int(row), f"vector {name!r} {found}")
    vectors = np.zeros((rows.num_rows, dimension), np.float32)
    fitting = lengths == dimension
    values = pc.list_flatten(column.filter(pa.array(fitting)))
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is refused
        flat = values.to_numpy(zero_copy_only=False).astype(np.float32)
    vectors[fitting] = flat.reshape(-1, dimension)
    for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1)):
        problems.setdefault(int(row), f"vector {name!r} holds NaN or infinity")
    return vectors


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])
