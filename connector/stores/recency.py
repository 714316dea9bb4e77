"""Newest wins, without a read before the usual write.

For each collection this process keeps a bound: no stored row is newer than it. A table whose oldest row is not older
than the bound can be written as it is. Otherwise one probe asks whether anything stored is newer than that oldest row;
only if there is are the stored times of the table's keys read and stale rows left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connector.stores.columns import Columns
from connector.stores.layout import CREATED, EVENT

Moment = tuple[int, int]
OLDEST: Moment = (-(2**63), -(2**63))
TRUSTED_S = 1.0
"""Seconds before a bound is probed again, so that another process's newer rows are seen."""


@dataclass
class Bound:
    """What is known of one collection: nothing stored is newer than `newest`, as of `checked`."""

    newest: Moment
    checked: float


class Recency:
    """The guard of one store; each collection's calls are made one at a time by their caller.

    Args:
        probe: collection, Milvus expression, and whether the answer must see every write that has returned anywhere →
            whether any stored row matches.
        stored: collection and keys → key → (event, created) of those that are stored.
    """

    def __init__(
        self,
        probe: Callable[[str, str, bool], bool],
        stored: Callable[[str, list[str]], dict[str, Moment]],
    ) -> None:
        self._probe = probe
        self._stored = stored
        self._bounds: dict[str, Bound] = {}

    def fresh(self, collection: str, columns: Columns, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the chosen rows that no stored row of the same key is newer than."""
        event, created = columns.event[chosen], columns.created[chosen]
        first, last = np.lexsort((created, event))[[0, -1]]
        oldest, newest = (int(event[first]), int(created[first])), (int(event[last]), int(created[last]))
        kept = chosen if self._nothing_newer(collection, oldest) else self._compare(collection, columns, chosen)
        bound = self._bounds.get(collection)
        if bound is not None:
            bound.newest = max(bound.newest, newest)
        return kept

    def forget(self, collection: str) -> None:
        """The collection was dropped, perhaps to be made anew."""
        self._bounds.pop(collection, None)

    def begin(self, collection: str) -> None:
        """The collection was made just now, so nothing is stored."""
        self._bounds[collection] = Bound(OLDEST, time.monotonic())

    def _nothing_newer(self, collection: str, moment: Moment) -> bool:
        bound = self._bounds.get(collection)
        now = time.monotonic()
        if bound is not None and moment < bound.newest:
            return False
        if bound is not None and now - bound.checked < TRUSTED_S:
            return True
        event, created = moment
        newer = f"{EVENT} > {event} or ({EVENT} == {event} and {CREATED} > {created})"
        if self._probe(collection, newer, bound is None):
            return False
        self._bounds[collection] = Bound(moment, now)
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
