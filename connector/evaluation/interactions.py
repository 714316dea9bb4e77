"""Who chose what, and when: read from Parquet, filtered, numbered and put in order of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from connector.errors import CatalogueError

History = NDArray[np.int64]


class InteractionSource(BaseModel):
    """One Parquet file (or folder of parts) of interactions.

    Attributes:
        path: the file; in a spec, relative paths count from the spec's folder.
        user, item, time: columns of the keys and of the moment (a timestamp, date or number).
        value: column that says how strong an interaction was; None counts every row.
        at_least: the least `value` that counts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    user: str = "user_id"
    item: str = "item_id"
    time: str = "event_timestamp"
    value: str | None = None
    at_least: float | None = Field(None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _together(self) -> InteractionSource:
        if (self.value is None) != (self.at_least is None):
            raise ValueError("give both value and at_least, or neither")
        return self


@dataclass(frozen=True)
class Interactions:
    """Histories over numbered users and items.

    Attributes:
        users, items: ids by number, both sorted.
        histories: item numbers of each user, oldest first; rows of one moment stay in the file's order.
        skipped: reason → rows left out.
    """

    users: list[str]
    items: list[str]
    histories: list[History]
    skipped: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return sum(len(history) for history in self.histories)


def read_interactions(source: InteractionSource, catalogue: Sequence[str] | None = None) -> Interactions:
    """Read a source.

    Args:
        catalogue: ids of all items there are, so that items nobody chose are ranked too; interactions with others
            are left out and counted. Default: the items that were chosen.

    Raises:
        CatalogueError: no such file or column, a column of the wrong kind, or not one usable interaction.
    """
    table = _read(source)
    skipped: Counter[str] = Counter()
    if source.value is not None:
        weak = pc.invert(pc.fill_null(pc.greater_equal(table["value"], source.at_least), False))
        table = _without(table, weak, f"{source.value} below {source.at_least:g}", skipped)
    timeless = pc.is_null(table["time"], nan_is_null=True)
    lacking = pc.or_(pc.or_(pc.is_null(table["user"]), pc.is_null(table["item"])), timeless)
    table = _without(table, lacking, "null key or time", skipped)
    if catalogue is not None:
        unknown = pc.invert(pc.is_in(table["item"], value_set=pa.array(catalogue, pa.string())))
        table = _without(table, unknown, "item not in the catalogue", skipped)
    if not table.num_rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.items()) or "the file is empty"
        raise CatalogueError(f"{source.path}: not one usable interaction ({reasons})")
    users, user_rows = _number(table["user"], None)
    items, item_rows = _number(table["item"], catalogue)
    order = np.lexsort((table["time"].to_numpy(), user_rows))
    ends = np.searchsorted(user_rows[order], np.arange(1, len(users)))
    return Interactions(users, items, np.split(item_rows[order], ends), skipped)


def _read(source: InteractionSource) -> pa.Table:
    columns = {"user": source.user, "item": source.item, "time": source.time}
    if source.value is not None:
        columns["value"] = source.value
    try:
        schema = pq.read_schema(source.path) if Path(source.path).is_file() else pq.ParquetDataset(source.path).schema
        lacking = [name for name in columns.values() if name not in schema.names]
        if lacking:
            raise CatalogueError(f"{source.path}: no column {lacking[0]!r}; it has {', '.join(schema.names)}")
        table = pq.read_table(source.path, columns=list(dict.fromkeys(columns.values())))
    except (OSError, pa.ArrowInvalid) as error:
        raise CatalogueError(f"{source.path}: cannot be read as Parquet ({type(error).__name__})") from error
    try:
        return pa.table(
            {
                "user": ids_of(table[source.user]),
                "item": ids_of(table[source.item]),
                "time": _moments(table[source.time]),
                **({"value": table[source.value].cast(pa.float64())} if source.value else {}),
            }
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise CatalogueError(
            f"{source.path}: a column is of the wrong kind ({' '.join(str(error).split())[:120]})"
        ) from error


def ids_of(column: Any) -> Any:
    """Ids as text; null where there is none, which in a column of fractions is written as NaN.

    Raises:
        pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError: cells that cannot be text.
    """
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    return column.cast(pa.string())


def _moments(column: Any) -> Any:
    kind = column.type
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("ms"))
        kind = column.type
    return column.cast(pa.int64()) if pa.types.is_timestamp(kind) else column.cast(pa.float64())


def _without(table: pa.Table, mask: Any, reason: str, skipped: Counter[str]) -> pa.Table:
    kept = table.filter(pc.invert(mask))
    if kept.num_rows < table.num_rows:
        skipped[reason] += table.num_rows - kept.num_rows
    return kept


def _number(column: Any, known: Sequence[str] | None) -> tuple[list[str], NDArray[np.int64]]:
    names = sorted(set(column.to_pylist() if known is None else known))
    numbers = pc.index_in(column, value_set=pa.array(names, pa.string()))
    return names, np.asarray(numbers.to_numpy(), np.int64)
