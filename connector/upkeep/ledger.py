"""Both sides of a comparison on disk, and what differs between them, at bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connector.errors import StoreError
from connector.upkeep.facts import CREATED, EVENT, KEY

Kind = Literal["missing", "stale", "changed", "orphan", "ahead"]
KINDS: tuple[Kind, ...] = ("missing", "stale", "changed", "orphan", "ahead")
MEMORY = "256MB"
CHUNK = 1000

# Of rows of one key with equal times the last one counts, as it does for a store that they are written to in order.
_NEWEST = """
CREATE OR REPLACE TABLE newest AS
SELECT key, m.e AS event, m.c AS created, m.d AS digest
FROM (SELECT key, max({e: event, c: created, p: place, d: digest}) AS m FROM logged GROUP BY key)
"""
_DIFFERENCES = """
CREATE OR REPLACE TABLE differing AS
SELECT * FROM (
    SELECT coalesce(l.key, s.key) AS key, l.event AS event, l.created AS created,
        CASE
            WHEN s.key IS NULL THEN 'missing'
            WHEN l.key IS NULL THEN 'orphan'
            WHEN s.event < l.event OR (s.event = l.event AND s.created < l.created) THEN 'stale'
            WHEN s.event > l.event OR s.created > l.created THEN 'ahead'
            WHEN s.digest != l.digest THEN 'changed'
        END AS kind
    FROM newest l FULL OUTER JOIN stored s ON l.key = s.key
) WHERE kind IS NOT NULL
"""
_DOUBTED = " AND key IN (SELECT key FROM doubted)"
_NEXT = "SELECT key FROM differing WHERE list_contains(?, kind) AND (? IS NULL OR key > ?) ORDER BY key LIMIT ?"


class Ledger:
    """Facts of the log and of the store in a temporary DuckDB database. A context manager.

    A row's content is kept as a hash of 64 bits.

    Raises:
        StoreError: there is no room for it.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="reconcile-")
        self._database: Any = None
        self._place = 0

    def __enter__(self) -> Ledger:
        import duckdb

        folder = Path(self._folder.name)
        settings = {"memory_limit": MEMORY, "threads": 2, "temp_directory": str(folder / "spill")}
        self._database = duckdb.connect(str(folder / "ledger.db"), config=settings)
        self._run("SET preserve_insertion_order = false")
        columns = "key VARCHAR, event BIGINT, created BIGINT, digest UBIGINT"
        self._run(f"CREATE TABLE logged ({columns}, place BIGINT)")
        self._run(f"CREATE TABLE stored ({columns})")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        self._folder.cleanup()

    def add_logged(self, facts: pa.Table) -> None:
        """Rows of the log; later ones count as written later."""
        place = pa.array(np.arange(self._place, self._place + facts.num_rows))
        self._place += facts.num_rows
        self._insert("logged", facts.append_column("place", place), ", place")

    def add_stored(self, facts: pa.Table) -> None:
        """Rows of the store, each key once."""
        self._insert("stored", facts, "")

    def restate(self, keys: Sequence[str], facts: pa.Table) -> None:
        """What the store says of these keys now, instead of what it said."""
        with self._given(pa.table({KEY: pa.array(keys, pa.string())})):
            self._run("DELETE FROM stored WHERE key IN (SELECT key FROM given)")
        self.add_stored(facts)

    def settle(self, again: bool = False) -> None:
        """Find what differs; `again`: only among the keys that differed before."""
        if again:
            self._run("CREATE OR REPLACE TABLE doubted AS SELECT key FROM differing")
        self._run(_NEWEST)
        self._run(_DIFFERENCES + _DOUBTED if again else _DIFFERENCES)

    def totals(self) -> tuple[int, int, int]:
        """Rows of the log, keys of the log, rows of the store."""
        counts = self._run(
            "SELECT (SELECT count(*) FROM logged), (SELECT count(*) FROM newest), (SELECT count(*) FROM stored)"
        ).fetchone()
        return int(counts[0]), int(counts[1]), int(counts[2])

    def counts(self) -> dict[Kind, int]:
        """Differences of each kind."""
        found = dict(self._run("SELECT kind, count(*) FROM differing GROUP BY kind").fetchall())
        return {kind: int(found.get(kind, 0)) for kind in KINDS}

    def examples(self, kind: Kind, limit: int) -> list[str]:
        """The first keys of a kind, in order."""
        found = self._run("SELECT key FROM differing WHERE kind = ? ORDER BY key LIMIT ?", [kind, limit]).fetchall()
        return [key for (key,) in found]

    def differing(self, kinds: Sequence[Kind] = KINDS) -> Iterator[list[str]]:
        """Keys that differ so, in order, in chunks."""
        last: str | None = None
        while True:
            found = self._run(_NEXT, [list(kinds), last, last, CHUNK]).fetchall()
            if not found:
                return
            yield [key for (key,) in found]
            last = found[-1][0]

    def chosen(self, facts: pa.Table, kinds: Sequence[Kind], newest: bool = True) -> NDArray[np.int64]:
        """Positions, ascending, of the rows whose keys differ so; `newest`: and that the store should hold."""
        times = f" AND g.{EVENT} = d.event AND g.{CREATED} = d.created" if newest else ""
        table = facts.select([KEY, EVENT, CREATED]).append_column("at", pa.array(np.arange(facts.num_rows)))
        with self._given(table):
            found = self._run(
                f"SELECT g.at FROM given g JOIN differing d ON g.key = d.key{times} "  # noqa: S608 - no outside text
                "WHERE list_contains(?, d.kind) ORDER BY g.at",
                [list(kinds)],
            ).fetchnumpy()
        return np.asarray(found["at"], dtype=np.int64)

    def _insert(self, table: str, facts: pa.Table, more: str) -> None:
        content = [name for name in facts.column_names if name not in (KEY, EVENT, CREATED, "place")]
        digest = f"hash({', '.join(content)})" if content else "0"
        with self._given(facts):
            self._run(
                f"INSERT INTO {table} SELECT {KEY}, {EVENT}, {CREATED}, {digest}{more} FROM given"  # noqa: S608
            )

    def _given(self, table: pa.Table) -> _Given:
        return _Given(self._database, table)

    def _run(self, statement: str, values: Sequence[Any] = ()) -> Any:
        import duckdb

        try:
            return self._database.execute(statement, list(values))
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            line = str(error).splitlines()[0]
            raise StoreError(f"{self._folder.name}: {line}; make room there, or set TMPDIR elsewhere") from error


class _Given:
    """A table under the name `given` for the time of a statement."""

    def __init__(self, database: Any, table: pa.Table) -> None:
        self._database, self._table = database, table

    def __enter__(self) -> None:
        self._database.register("given", self._table)

    def __exit__(self, *error: object) -> None:
        self._database.unregister("given")
