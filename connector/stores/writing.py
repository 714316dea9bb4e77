"""One write, from checked rows to what Milvus has acknowledged, attempt by attempt."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connector.stores.admin import Known
from connector.stores.base import WriteResult
from connector.stores.carry import carried, obstacles
from connector.stores.columns import Columns, read_columns, require_good
from connector.stores.connection import translated
from connector.stores.message import upsert_request
from connector.stores.recency import Recency
from connector.stores.rows import batches, newest_rows
from connector.stores.session import IN_FLIGHT, Session


class Writing:
    """Rows on their way, and how far they have come.

    Args:
        rows: the table to write.
        progressed: called whenever Milvus has acknowledged some of them.
    """

    def __init__(self, rows: pa.Table, progressed: Callable[[], None]) -> None:
        self._rows = rows
        self._progressed = progressed
        self._known: Known | None = None
        self._columns: Columns | None = None
        self._pending = np.empty(0, np.int64)
        self._written = 0
        self._attempts = 0

    @property
    def result(self) -> WriteResult:
        """Rows acknowledged; every other one was stale."""
        return WriteResult(written=self._written, stale=self._rows.num_rows - self._written)

    def attempt(self, session: Session, known: Known, recency: Recency) -> None:
        """Write what is not yet acknowledged.

        A second attempt asks Milvus again what is newer: while this writer waited, another may have written. Nobody
        knows whether rows without an acknowledgement are stored; to write them once more does no harm.
        """
        columns = self._start(known)
        if len(self._pending) == 0:
            return
        doubtful, self._attempts = self._attempts > 0, self._attempts + 1
        with session.marks.hold(known.physical) as record:
            mark = record.read(known.identity)
            self._pending = recency.fresh(known.name, mark, columns, self._pending, doubtful)
            if len(self._pending):
                record.write(known.identity, mark)
                self._send(session, known, columns)

    def _start(self, known: Known) -> Columns:
        """Read the rows for this collection; an alias that has moved since the last attempt starts all over.

        The rows are then what they would be had they been written just before, and been carried over.
        """
        if self._columns is None or known != self._known:
            rows, before = self._rows, self._known
            if before is not None and before.physical != known.physical and not obstacles(before.spec, known.spec):
                rows = carried(rows, known.spec)
            self._columns = read_columns(known.spec, rows)
            require_good(known.spec, self._columns)
            self._known, self._pending, self._written = known, newest_rows(self._columns), 0
        return self._columns

    def _send(self, session: Session, known: Known, columns: Columns) -> None:
        """Several batches are under way at once; their keys differ, so their order does not matter."""
        parts = batches(known.spec, columns, self._pending)
        under_way: deque[tuple[NDArray[np.int64], Future[None]]] = deque()
        refused: BaseException | None = None
        try:
            while refused is None and (part := next(parts, None)) is not None:
                under_way.append((part, session.pool.submit(upsert, session, known, columns, part)))
                if len(under_way) > IN_FLIGHT:
                    refused = self._finish(*under_way.popleft())
            while under_way:
                refused = self._finish(*under_way.popleft()) or refused
        finally:  # whoever interrupts this: the lock must not be given back over rows that are under way
            wait([future for _, future in under_way])
        if refused is not None:
            raise refused

    def _finish(self, positions: NDArray[np.int64], future: Future[None]) -> BaseException | None:
        error = future.exception()
        if error is None:
            self._pending = self._pending[~np.isin(self._pending, positions, assume_unique=True)]
            self._written += len(positions)
            self._progressed()
        return error


def upsert(session: Session, known: Known, columns: Columns, chosen: NDArray[np.int64]) -> None:
    """Send one batch, once.

    Raises:
        StoreUnavailableError: another try may succeed.
        StoreError: it was refused.
    """
    request = upsert_request(known.physical, known.spec, columns, chosen)
    with translated(f"write to {known.name}"):
        session.upsert(request)
