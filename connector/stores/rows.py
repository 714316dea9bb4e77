"""Checked columns → what pymilvus takes: lists of dicts, in batches bounded by bytes."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connector.stores.base import CollectionSpec, ScalarField
from connector.stores.columns import Columns, keyword_texts
from connector.stores.filters.milvus import DEFAULTS
from connector.stores.layout import CREATED, EVENT, KEY, WORDS, column_name, key_columns, null_marks, vector_column

BATCH_BYTES = 3 * 512 * 1024
BATCH_ROWS = 2048


def newest_rows(columns: Columns) -> NDArray[np.int64]:
    """Positions of the newest row of each key, in order; of rows with equal times the last one."""
    codes = pa.array(columns.keys, pa.string()).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    if len(codes) == 0 or int(codes.max()) == len(codes) - 1:
        return np.arange(len(codes), dtype=np.int64)
    order = np.lexsort((np.arange(len(codes)), columns.created, columns.event, codes))
    ordered = codes[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    return np.sort(order[last]).astype(np.int64)


def batches(
    spec: CollectionSpec, columns: Columns, chosen: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], list[dict[str, Any]]]]:
    """The chosen rows, as positions and as dicts: at most `BATCH_BYTES` (one row apart) and `BATCH_ROWS` in a batch."""
    ends = np.cumsum(_row_bytes(spec, columns, chosen))
    start = 0
    while start < len(chosen):
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + BATCH_BYTES, side="right"))
        stop = min(max(stop, start + 1), start + BATCH_ROWS)
        yield chosen[start:stop], _dicts(spec, columns, chosen[start:stop])
        start = stop


def _row_bytes(spec: CollectionSpec, columns: Columns, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    size = np.full(len(chosen), 4 * columns.vectors.shape[1] + 16 * (len(spec.fields) + 4), np.int64)
    take = pa.array(chosen)
    for scalar in (*spec.keys, *spec.fields):
        if scalar.type in ("string", "opaque"):
            lengths = pc.fill_null(pc.binary_length(columns.scalars[scalar.name].take(take)), 0)
            size += lengths.to_numpy(zero_copy_only=False)
    return size


def _dicts(spec: CollectionSpec, columns: Columns, chosen: NDArray[np.int64]) -> list[dict[str, Any]]:
    take = pa.array(chosen)
    names = [KEY, EVENT, CREATED, vector_column(spec)]
    values: list[list[Any]] = [
        [columns.keys[row] for row in chosen.tolist()],
        columns.event[chosen].tolist(),
        columns.created[chosen].tolist(),
        _floats(columns.vectors[chosen]),
    ]
    for key in key_columns(spec):
        names.append(column_name(key.name))
        values.append(columns.scalars[key.name].take(take).to_pylist())
    marks = null_marks(spec)
    masks: dict[str, NDArray[np.int64]] = {}
    for field in spec.fields:
        column, mark = columns.scalars[field.name].take(take), marks[field.name]
        names.append(column_name(field.name))
        values.append(_plain(field, column))
        null = column.is_null().to_numpy(zero_copy_only=False)
        masks[mark.column] = masks.get(mark.column, np.zeros(len(chosen), np.int64)) + null * mark.bit
    for name, mask in masks.items():
        names.append(name)
        values.append(mask.tolist())
    if spec.keyword_fields:
        names.append(WORDS)
        values.append(keyword_texts(spec, columns.scalars).take(take).to_pylist())
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _floats(vectors: NDArray[np.float32]) -> list[Any]:
    """Rows as arrays of C floats: pymilvus hands them to protobuf as they are, at half the cost of lists."""
    width = vectors.shape[1] * vectors.itemsize
    data = vectors.tobytes()
    return [array("f", data[start : start + width]) for start in range(0, len(data), width)]


def _plain(field: ScalarField, column: pa.Array) -> list[Any]:
    if field.type == "opaque":
        return [base64.b64encode(value or b"").decode("ascii") for value in column.to_pylist()]
    if field.type == "timestamp":
        column = column.cast(pa.int64())
    values: list[Any] = (
        pc.fill_null(column, DEFAULTS[field.type]).to_pylist() if column.null_count else column.to_pylist()
    )
    return values
