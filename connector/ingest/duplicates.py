"""Which (key, event time) pairs a run has seen: exact, in bounded memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence


class SeenKeys:
    """Pairs of key and event time with the row that came first.

    They live in SQLite's private temporary database: a file without a name, so that nothing is left when the process
    dies. One thread at a time.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("PRAGMA cache_size=-4096")
        self._database.execute(
            "CREATE TABLE seen (key NOT NULL, event INTEGER NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (key, event)) "
            "WITHOUT ROWID"
        )

    def claim(self, keys: Sequence[str | int], events: Sequence[int], rows: Sequence[int]) -> list[int | None]:
        """Enter pairs in order → for each, the row that holds it already, or None where it is new.

        Args:
            keys: of one type over the run.
            events: microseconds since 1970.
            rows: positions in the catalogue.
        """
        earlier: list[int | None] = []
        with self._database:
            self._database.execute("BEGIN")
            for entry in zip(keys, events, rows, strict=True):
                cursor = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", entry)
                earlier.append(None if cursor.rowcount else self._row(entry[0], entry[1]))
        return earlier

    def _row(self, key: str | int, event: int) -> int:
        found = self._database.execute("SELECT row FROM seen WHERE key = ? AND event = ?", (key, event)).fetchone()
        return int(found[0])

    def close(self) -> None:
        """Drop everything."""
        self._database.close()
