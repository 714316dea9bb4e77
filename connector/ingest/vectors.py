"""Ready vectors: a catalogue column that already holds embeddings."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from connector.ingest.batch import cell, plain, shown
from connector.ingest.cells import is_text

# Of a squared norm.
SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def read_vectors(
    column: pa.Array, dimension: int, metric: str, candidates: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32], dict[int, str]]:
    """Vectors of the candidate rows.

    Args:
        column: lists of numbers of any width, or text holding a JSON list. A null, and an empty text, is no vector:
            the row lacks the modality.
        candidates: int64, rows to read.

    Returns:
        the rows that hold a vector (int64 [m], ascending), their vectors (float32 [m, dimension]), and
        row → reason for those whose vector cannot be used; candidates in neither have none.
    """
    failures: dict[int, str] = {}
    taken = column.take(pa.array(candidates))
    if is_text(taken.type):
        taken = _parse(taken)
    if pt.is_null(taken.type):
        return _nothing(dimension, {})
    present = np.flatnonzero(np.asarray(taken.is_valid()))
    if len(present) < len(taken):
        candidates, taken = candidates[present], taken.take(pa.array(present))
    if not _is_list(taken.type) or pt.is_boolean(taken.type.value_type):
        reason = f"a {taken.type} is no vector; give a list of numbers"
        return _nothing(dimension, {int(row): reason for row in candidates})
    lengths = np.asarray(pc.list_value_length(taken))
    for at in np.flatnonzero(lengths != dimension):
        failures[int(candidates[at])] = f"{lengths[at]} numbers, the space has dimension {dimension}"
    fitting = np.flatnonzero(lengths == dimension)
    try:
        values = pc.list_flatten(taken.take(pa.array(fitting)) if len(fitting) < len(taken) else taken)
        values = pc.fill_null(pc.cast(values, pa.float32(), safe=False), float("nan"))
    except (pa.ArrowException, ValueError, TypeError):
        example = plain(shown(cell(taken, int(fitting[0])))) if len(fitting) else ""
        failures.update({int(candidates[at]): f"not a list of numbers: {example}" for at in fitting})
        return _nothing(dimension, failures)
    matrix = np.asarray(values, dtype=np.float32).reshape(-1, dimension)
    bad = vector_faults(matrix, metric)
    failures.update({int(candidates[fitting[at]]): reason for at, reason in bad.items()})
    if bad:
        kept = np.setdiff1d(np.arange(len(fitting)), np.fromiter(bad, dtype=np.int64))
        fitting, matrix = fitting[kept], matrix[kept]
    return candidates[fitting], matrix, failures


def vector_faults(vectors: NDArray[np.float32], metric: str) -> dict[int, str]:
    """Rows of float32 [n, dimension] that no store can rank: not finite, or without a direction under COSINE."""
    # One pass: the squared norm is finite exactly when every number is (in float64 it cannot overflow).
    norms = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    faults = dict.fromkeys(np.flatnonzero(~np.isfinite(norms)).tolist(), "holds a NaN, an infinity or a null")
    if metric == "COSINE":
        # Stores compare in float32, in which the squares of such numbers are nothing, or infinite.
        extreme = np.flatnonzero(np.isfinite(norms) & ((norms < SMALLEST) | (norms > LARGEST)))
        faults.update(dict.fromkeys(extreme.tolist(), "is too short or too long to be compared under COSINE; scale it"))
        faults.update(
            dict.fromkeys(np.flatnonzero(norms == 0).tolist(), "is all zero, which has no direction under COSINE")
        )
    return faults


def _nothing(dimension: int, failures: dict[int, str]) -> tuple[NDArray[np.int64], NDArray[np.float32], dict[int, str]]:
    return np.empty(0, dtype=np.int64), np.empty((0, dimension), dtype=np.float32), failures


def _is_list(kind: pa.DataType) -> bool:
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def _parse(column: pa.Array) -> pa.Array:
    """JSON lists; a text that is none becomes an empty list, whose length is then at fault."""
    return pa.array([_parse_one(cell(column, index)) for index in range(len(column))], pa.list_(pa.float64()))


def _parse_one(text: str | bytes | None) -> list[float] | None:
    if text is None or not text:
        return None
    try:
        values = json.loads(text)
        if values is None:
            return None
        if not isinstance(values, list) or not all(_is_number(value) for value in values):
            return []
        return [float("nan") if value is None else float(value) for value in values]
    except (ValueError, RecursionError, OverflowError):
        return []


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
