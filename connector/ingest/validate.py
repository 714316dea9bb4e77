"""Checks on whole rows: the key, the event time, and whether the pair was there before."""

from __future__ import annotations

import hashlib
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connector.ingest.batch import Batch, CheckedBatch, Problem, as_problems, first_per_row
from connector.ingest.cells import UTC_MICROSECONDS, cast_key, event_times
from connector.ingest.duplicates import SeenKeys
from connector.spaces import FieldSpec

DELETED = "deleted"


def key_hash(key: str | int) -> str:
    """SHA-256 of a key as text, in hexadecimal: how a deleted key is remembered without being kept."""
    return hashlib.sha256(str(key).encode("utf-8", "surrogatepass")).hexdigest()


class RowChecks:
    """Row-level checks of one run.

    The first row with a valid key and event time claims the pair; a later one with the same pair is a problem, also
    where the first one fails for another reason further on.

    Args:
        join_key: name and Feast type of the key.
        event_column: column of event times; None gives every row `now`.
        now: event time of rows without one of their own.
        deleted: hashes (`key_hash`) of keys that were deleted after the run began; it leaves them out.
    """

    def __init__(
        self,
        join_key: FieldSpec,
        event_column: str | None,
        now: datetime,
        deleted: frozenset[str] = frozenset(),
    ) -> None:
        self._key = join_key
        self._event_column = event_column
        self._now = now
        self._deleted = deleted
        self._seen = SeenKeys()

    def check(self, batch: Batch) -> CheckedBatch:
        """Check one batch; batches come in the catalogue's order."""
        count = len(batch)
        found = batch.columns.get(self._key.name, pa.nulls(count, pa.string()))
        keys, key_failures = cast_key(found, self._key.dtype)
        events, event_failures = self._events(batch)
        problems = as_problems(key_failures, "bad key", self._key.name)
        for index in np.flatnonzero(np.asarray(keys.is_null())).tolist():
            problems.append(Problem(index, "null key", "null key", self._key.name))
        problems += [Problem(index, "empty key", "empty key", self._key.name) for index in _empty_texts(keys)]
        problems += as_problems(event_failures, "bad event time", self._event_column or "")
        by_row = first_per_row(problems)
        valid = np.ones(count, dtype=np.bool_)
        valid[list(by_row)] = False
        for problem in self._repeats(batch, keys, events, np.flatnonzero(valid)):
            by_row[problem.index] = problem
            valid[problem.index] = False
        for index in self._gone(keys, np.flatnonzero(valid)):
            by_row[index] = Problem(index, DELETED, "deleted while this run stood still", self._key.name)
            valid[index] = False
        return CheckedBatch(batch, keys, found, events, valid, list(by_row.values()))

    def close(self) -> None:
        """Drop what is remembered of the run."""
        self._seen.close()

    def _events(self, batch: Batch) -> tuple[pa.Array, dict[int, str]]:
        if self._event_column is None:
            return pa.repeat(pa.scalar(self._now, UTC_MICROSECONDS), len(batch)), {}
        column = batch.columns.get(self._event_column, pa.nulls(len(batch), UTC_MICROSECONDS))
        return event_times(column)

    def _gone(self, keys: pa.Array, indices: NDArray[np.int64]) -> list[int]:
        if not self._deleted:
            return []
        return [int(index) for index in indices if key_hash(keys[int(index)].as_py()) in self._deleted]

    def _repeats(self, batch: Batch, keys: pa.Array, events: pa.Array, indices: NDArray[np.int64]) -> list[Problem]:
        taken = pa.array(indices)
        earlier = self._seen.claim(
            keys.take(taken).to_pylist(), events.take(taken).cast(pa.int64()).to_pylist(), batch.rows[indices].tolist()
        )
        return [
            Problem(int(index), "duplicate key", f"row {row} has the same key and event time", self._key.name)
            for index, row in zip(indices, earlier, strict=True)
            if row is not None
        ]


def _empty_texts(keys: pa.Array) -> list[int]:
    if not pa.types.is_string(keys.type):
        return []
    empty: list[int] = pc.indices_nonzero(pc.fill_null(pc.equal(keys, ""), False)).to_pylist()
    return empty
