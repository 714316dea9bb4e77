"""Newest wins, without a read before the usual write.

A table whose oldest row is not older than the collection's watermark can be written as it is. Otherwise the stored
times of its keys are read, and stale rows left out. Where the watermark is unknown, or Milvus has not been asked for a
while, one probe asks whether anything stored is newer than that oldest row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from connector.stores.columns import Columns
from connector.stores.layout import CREATED, EVENT
from connector.stores.watermark import Moment, Watermark, now

OLDEST: Moment = (-(2**63), -(2**63))
TRUSTED_S = 1.0
"""Seconds before Milvus is asked again, so that newer rows from other hosts are seen."""


class Recency:
    """Sorts out stale rows. The caller holds the collection's lock from here until the rows are written.

    Args:
        probe: collection, Milvus expression, and whether the answer must see every write that has returned anywhere →
            whether any stored row matches.
        stored: collection and keys → key → (event, created) of those that are stored, whoever wrote them.
    """

    def __init__(
        self,
        probe: Callable[[str, str, bool], bool],
        stored: Callable[[str, list[str]], dict[str, Moment]],
    ) -> None:
        self._probe = probe
        self._stored = stored

    def fresh(
        self, collection: str, mark: Watermark, columns: Columns, chosen: NDArray[np.int64], doubtful: bool = False
    ) -> NDArray[np.int64]:
        """Those of the chosen rows that no stored row of the same key is newer than; `mark` is raised to the newest.

        Args:
            doubtful: believe no earlier answer.
        """
        oldest, newest = _span(columns, chosen)
        if not self._nothing_newer(collection, mark, oldest, doubtful):
            chosen = self._compare(collection, columns, chosen)
            if len(chosen) == 0:
                return chosen
            newest = _span(columns, chosen)[1]
        if mark.newest is not None:
            mark.newest = max(mark.newest, newest)
        return chosen

    def _nothing_newer(self, collection: str, mark: Watermark, moment: Moment, doubtful: bool) -> bool:
        known = mark.newest
        if known is not None and moment < known:
            return False
        if known is not None and not doubtful and 0 <= now() - mark.checked < TRUSTED_S:
            return True
        event, created = moment
        newer = f"{EVENT} > {event} or ({EVENT} == {event} and {CREATED} > {created})"
        if self._probe(collection, newer, doubtful or known is None):
            mark.newest = None
            return False
        mark.newest, mark.checked = moment, now()
        return True

    def _compare(self, collection: str, columns: Columns, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        keys = [str(columns.keys[row]) for row in chosen]
        stored = self._stored(collection, keys)
        if not stored:
            return chosen
        kept = np.fromiter(
            (
                stored.get(key, OLDEST) <= (int(columns.event[row]), int(columns.created[row]))
                for key, row in zip(keys, chosen, strict=True)
            ),
            dtype=bool,
            count=len(chosen),
        )
        return np.asarray(chosen[kept], dtype=np.int64)


def _span(columns: Columns, chosen: NDArray[np.int64]) -> tuple[Moment, Moment]:
    """The oldest and the newest moment among the rows."""
    event, created = columns.event[chosen], columns.created[chosen]
    first, last = np.lexsort((created, event))[[0, -1]]
    return (int(event[first]), int(created[first])), (int(event[last]), int(created[last]))
