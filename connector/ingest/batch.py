"""What travels between the stages of an ingest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MAX_REASON = 300
MAX_KEY_SHOWN = 200


@dataclass(frozen=True)
class Problem:
    """Why one row, or one row of one view, is left out.

    Attributes:
        index: position in the batch.
        kind: short category, the same for all problems of its sort; what the report counts by.
        reason: one line of plain characters for a person.
        column: the catalogue column at fault, as the connector names it; empty where it is the row as a whole.
        view: the view that the row is left out of; empty for all of them.
    """

    index: int
    kind: str
    reason: str
    column: str = ""
    view: str = ""


@dataclass
class Batch:
    """Rows of a catalogue under the connector's column names.

    Attributes:
        rows: int64 [n], positions in the catalogue, counted from 0 over all its files.
        columns: name → array of n cells.
        broken: position → reason for rows that could not even be parsed; they are in no column.
    """

    rows: NDArray[np.int64]
    columns: dict[str, pa.Array]
    broken: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def end(self) -> int:
        """Position after its last row, a broken one included."""
        return max((int(position) + 1 for position in (*self.rows[-1:], *self.broken)), default=0)

    def between(self, first: int, stop: int | None) -> Batch | None:
        """Its rows from `first` on and before `stop`; None where there are none."""
        low = int(np.searchsorted(self.rows, first))
        high = len(self.rows) if stop is None else int(np.searchsorted(self.rows, stop))
        broken = {row: why for row, why in self.broken.items() if first <= row and (stop is None or row < stop)}
        if high - low == len(self.rows) and len(broken) == len(self.broken):
            return self if len(self.rows) or broken else None
        if low >= high and not broken:
            return None
        cells = {name: column.slice(low, max(high - low, 0)) for name, column in self.columns.items()}
        return Batch(self.rows[low:high], cells, broken)


@dataclass
class CheckedBatch:
    """A batch whose keys and event times have been checked.

    Attributes:
        keys: the join key as its view declares it; null where it is bad.
        found_keys: the key column as the catalogue holds it.
        events: `timestamp[us, UTC]`; null where bad.
        valid: bool [n]: rows that may go on.
        problems: one for each row that may not.
    """

    batch: Batch
    keys: pa.Array
    found_keys: pa.Array
    events: pa.Array
    valid: NDArray[np.bool_]
    problems: list[Problem]

    def key_text(self, index: int) -> str | None:
        """A row's key for messages: as it was found where it is bad."""
        value = self.keys[index].as_py()
        value = cell(self.found_keys, index) if value is None else value
        return None if value is None else plain(value, MAX_KEY_SHOWN)


def plain(text: object, limit: int = MAX_REASON) -> str:
    """`text` on one line without control characters, shortened: a hostile cell must not write to a terminal."""
    kept = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(str(text)[: 4 * limit].split())
    )
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def shown(value: Any, limit: int = 60) -> str:
    """A cell's value for a message: its repr, shortened."""
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value):,} bytes {plain(repr(bytes(value[:16])), limit)}"
    if isinstance(value, str):
        value = value[: limit + 1]
    elif isinstance(value, (list, tuple)):
        value = list(value[:8])
    return plain(repr(value), limit)


def cell(array: pa.Array, index: int) -> Any:
    """One cell as a Python value; text that is not UTF-8 comes as bytes, anything unreadable as its type."""
    try:
        return array[index].as_py()
    except (ValueError, OverflowError):
        try:
            return array[index].as_buffer().to_pybytes()
        except AttributeError:
            return f"<{array.type}>"


def first_per_row(problems: Iterable[Problem]) -> dict[int, Problem]:
    """The first problem of each row: a row is left out once, whatever else is wrong with it."""
    found: dict[int, Problem] = {}
    for problem in problems:
        found.setdefault(problem.index, problem)
    return found


def count_kinds(problems: Iterable[Problem], counts: dict[str, int]) -> None:
    """Add the problems to `counts` by kind."""
    for problem in problems:
        counts[problem.kind] = counts.get(problem.kind, 0) + 1


def as_problems(failures: Mapping[int, str], kind: str, column: str, view: str = "") -> list[Problem]:
    """Index → reason as problems of one kind and column."""
    return [Problem(index, kind, plain(reason), column, view) for index, reason in failures.items()]
