"""Rows of one view: fields cast, vectors made, one Arrow table out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connector.ingest.batch import CheckedBatch, Problem, as_problems, first_per_row
from connector.ingest.cells import UTC_MICROSECONDS, arrow_type, cast_column
from connector.ingest.encode import Vectors, VectorSource
from connector.ingest.targets import ViewTarget
from connector.missing import MODALITIES
from connector.spaces import CREATED_TIMESTAMP, EVENT_TIMESTAMP


@dataclass
class ViewRows:
    """What a batch gives one view.

    Attributes:
        table: the join key, the fields, the vector (`FixedSizeList<float32>`), `event_timestamp`, `created_timestamp`.
        positions: int64, catalogue position of each row of the table.
        encoded: vectors in it.
        absent: rows without the modality.
        problems: rows left out of this view, at most one for each row.
    """

    table: pa.Table
    positions: NDArray[np.int64]
    encoded: int
    absent: int
    problems: list[Problem]


def view_rows(target: ViewTarget, checked: CheckedBatch, vectors: VectorSource | None, created: datetime) -> ViewRows:
    """Cast and encode one batch for one view."""
    columns = checked.batch.columns
    fields: dict[str, pa.Array] = {}
    problems: list[Problem] = []
    for field in target.fields:
        kind = arrow_type(field.dtype)
        made_here = field.name == MODALITIES and target.space is not None and target.space.says_modalities
        if field.name not in columns or made_here:
            fields[field.name] = pa.nulls(len(checked.batch), kind)
            continue
        fields[field.name], failures = cast_column(columns[field.name], field.dtype)
        problems += as_problems(failures, "bad value", field.name, target.name)
    bad = {index: p for index, p in first_per_row(problems).items() if checked.valid[index]}
    candidates = np.array([i for i in np.flatnonzero(checked.valid) if i not in bad], dtype=np.int64)
    made = Vectors(candidates, np.empty((0, 0), dtype=np.float32))
    if vectors is not None:
        made = vectors.vectors(columns, candidates)
    arrays = {target.join_key.name: checked.keys, **fields}
    table = pa.table({name: array.take(pa.array(made.rows)) for name, array in arrays.items()})
    if made.modalities is not None:
        at = table.column_names.index(MODALITIES)
        table = table.set_column(at, MODALITIES, pa.array(made.modalities, pa.string()))
    if target.space is not None:
        table = table.append_column(target.space.vector_field, _fixed_lists(made.vectors))
    events = checked.events.take(pa.array(made.rows))
    table = table.append_column(EVENT_TIMESTAMP, events)
    table = table.append_column(CREATED_TIMESTAMP, pa.repeat(pa.scalar(created, UTC_MICROSECONDS), table.num_rows))
    encoded = len(made.rows) if vectors is not None else 0
    positions = checked.batch.rows[made.rows]
    return ViewRows(table, positions, encoded, made.absent, [*bad.values(), *made.problems])


def _fixed_lists(vectors: NDArray[np.float32]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors).reshape(-1)), vectors.shape[1])
