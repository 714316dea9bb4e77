"""The last stage: rows gathered into larger parts, to the log first and to the store second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connector.errors import BadRowsError, StrictIngestError
from connector.ingest.batch import MAX_KEY_SHOWN, plain
from connector.ingest.dead_letters import DeadLetter
from connector.ingest.preflight import Plan
from connector.ingest.rows import ViewRows
from connector.ingest.runs import Run
from connector.ingest.stages import StageClock
from connector.spaces import EVENT_TIMESTAMP
from connector.stores.base import VectorStore
from connector.stores.carry import carried, obstacles

# Parts of a few thousand rows: small ones make slow logs and slow upserts, large ones cost memory, and are encoded
# again by whoever carries on a run that died within one.
PART_ROWS = 4096
MEDIA_PART_ROWS = 1024
PART_BYTES = 16 * 1024 * 1024


@dataclass
class FinishedBatch:
    """Rows of a batch by view, its dead letters, and how many of its rows were left out of every view.

    Attributes:
        rows: rows of the catalogue that it stands for, broken ones included.
        end: position after the last of them.
    """

    views: dict[str, ViewRows]
    letters: list[DeadLetter] = field(default_factory=list)
    left_out: int = 0
    rows: int = 0
    end: int = 0


class ViewWriter:
    """Writes finished batches, in order, and commits the run's state after each part.

    A part's name follows from the run's id and its number, so that a run that is carried on replaces the parts it had
    not committed.

    Args:
        run: from whose state it goes on; counts are added to it once the store has the rows.
        to_store: turns a view's table into the rows of its collection.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        store: VectorStore,
        run: Run,
        *,
        strict: bool,
        clock: StageClock,
        to_store: Callable[[pa.Table, Plan], pa.Table],
    ) -> None:
        self._plans = {plan.target.name: plan for plan in plans}
        self._store = store
        self._run, self._state, self._letters = run, run.state, run.letters
        self._clock = clock
        self._to_store = to_store
        self._strict = strict
        self._waiting: dict[str, list[ViewRows]] = {name: [] for name in self._plans}
        self._parts_left = run.touched
        self._part_rows = MEDIA_PART_ROWS if any(plan.encodes_media for plan in plans) else PART_ROWS

    def take(self, batch: FinishedBatch) -> None:
        """Take one batch, and write when enough has come together."""
        self._letters.add(batch.letters)
        for name, rows in batch.views.items():
            counts = self._state.views[name]
            counts["encoded"] += rows.encoded
            counts["absent"] += rows.absent
            counts["dead"] += batch.left_out + len(rows.problems)
            if rows.table.num_rows:
                self._waiting[name].append(rows)
        self._state.rows += batch.rows
        self._state.position = max(self._state.position, batch.end)
        if self._letters.many or any(self._is_full(waiting) for waiting in self._waiting.values()):
            self.flush()

    def flush(self) -> None:
        """Write everything that waits, and commit."""
        for name, waiting in self._waiting.items():
            if not waiting and self._parts_left:
                # A start that died here may have had rows for this view, of media that are gone now.
                self._plans[name].target.log.drop_part(self._part)
            if waiting:
                table = pa.concat_tables([rows.table for rows in waiting]).combine_chunks()
                positions = np.concatenate([rows.positions for rows in waiting])
                waiting.clear()
                self._run.touched = True
                self._write(self._plans[name], table, positions)
        self._state.part += 1
        self._parts_left = False
        with self._clock.measure("commit"):
            self._letters.commit()
            self._state.letters, self._state.segments = dict(self._letters.counts), self._letters.committed
            self._run.commit()

    @property
    def _part(self) -> str:
        return f"{self._state.run_id}-{self._state.part:06d}"

    def _is_full(self, waiting: Sequence[ViewRows]) -> bool:
        rows, size = sum(each.table.num_rows for each in waiting), sum(each.table.nbytes for each in waiting)
        return bool(rows >= self._part_rows or size >= PART_BYTES)

    def _write(self, plan: Plan, table: pa.Table, positions: NDArray[np.int64]) -> None:
        target, counts = plan.target, self._state.views[plan.target.name]
        if table.num_rows == 0:
            target.log.drop_part(self._part)
            return
        with self._clock.measure("log"):
            target.log.append(table, self._part)
        if target.collection is None:
            counts["written"] += table.num_rows
            return
        try:
            with self._clock.measure("store"):
                result = self._store.write(target.collection, self._in_shape(plan, self._to_store(table, plan)))
        except BadRowsError as error:
            if self._strict:
                raise StrictIngestError(f"view {target.name}: {error}") from error
            if not 0 < len(error.rows) <= table.num_rows:
                raise
            self._letters.add(self._refused(plan, table, positions, error.rows))
            counts["dead"] += len(error.rows)
            kept = np.setdiff1d(np.arange(table.num_rows), np.fromiter(error.rows, dtype=np.int64))
            # The part is written again without them: the log must not hold what the store can never take.
            self._write(plan, table.take(pa.array(kept)), positions[kept])
            return
        counts["written"] += result.written
        counts["stale"] += result.stale

    def _in_shape(self, plan: Plan, rows: pa.Table) -> pa.Table:
        """Rows of a plain view as it is now: `apply` may have given it other fields since this ingest began."""
        before = plan.collection
        if before is None or before.vector is not None:
            return rows
        now = self._store.describe(plan.target.name)
        if now is None or now == before or obstacles(before, now):
            return rows
        return carried(rows, now)

    def _refused(
        self, plan: Plan, table: pa.Table, positions: NDArray[np.int64], reasons: dict[int, str]
    ) -> list[DeadLetter]:
        keys, events = table.column(plan.target.join_key.name), table.column(EVENT_TIMESTAMP)
        return [
            DeadLetter(
                row=int(positions[at]),
                key=plain(keys[at].as_py(), MAX_KEY_SHOWN),
                space=plan.target.name,
                column=None,
                kind="refused by the store",
                reason=plain(reason),
                event=events[at].as_py(),
            )
            for at, reason in sorted(reasons.items())
        ]
