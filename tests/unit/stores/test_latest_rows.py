"""The newest row of each key, over files that differ."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import StoreError
from connector.stores import latest_rows as module
from connector.stores.latest_rows import ParquetRows, latest_rows

NOON = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
TIMES = pa.timestamp("us", "UTC")


def moment(minutes: int | None) -> datetime | None:
    return None if minutes is None else NOON + timedelta(minutes=minutes)


def table(rows: list[tuple[str, int, int | None]], payload: int = 0) -> pa.Table:
    return pa.table(
        {
            "key": pa.array([row[0] for row in rows], pa.string()),
            "at": pa.array([moment(row[1]) for row in rows], TIMES),
            "made": pa.array([moment(row[2]) for row in rows], TIMES),
            "value": pa.array([f"{payload}:{place}" for place in range(len(rows))], pa.string()),
        }
    )


def rows_of(folder: Path, tables: list[pa.Table], **options: Any) -> ParquetRows:
    for number, part in enumerate(tables):
        pq.write_table(part, folder / f"{number}.parquet", row_group_size=3)
    options = {"keys": ("key",), "features": ("value",), "event": "at", "created": "made", **options}
    return ParquetRows("shop", ds.dataset(sorted(folder.glob("*.parquet")), format="parquet"), **options)


def found(source: ParquetRows, start: int = -100, end: int = 100) -> list[dict[str, Any]]:
    parts = latest_rows(source, NOON + timedelta(minutes=start), NOON + timedelta(minutes=end))
    return sorted((row for part in parts for row in part.to_pylist()), key=lambda row: row["key"])


ROW = st.tuples(st.sampled_from("abcd"), st.integers(-5, 5), st.none() | st.integers(0, 3))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(ROW, max_size=12), min_size=1, max_size=3), st.integers(-4, 0), st.integers(0, 4))
def test_the_newest_wins(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[tuple[str, int, int | None]]], start: int, end: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    source = rows_of(folder, [table(rows, number) for number, rows in enumerate(files)])
    best: dict[str, tuple[Any, str]] = {}
    for number, rows in enumerate(files):
        for place, (key, at, made) in enumerate(rows):
            rank = (at, -1 if made is None else made, number, place)
            if start <= at <= end and (key not in best or rank > best[key][0]):
                best[key] = (rank, f"{number}:{place}")
    assert [(row["key"], row["value"]) for row in found(source, start, end)] == [
        (key, best[key][1]) for key in sorted(best)
    ]


def test_tables_are_bounded_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES_AT_ONCE", 200)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 4)
    keys = [f"k{number:02}" for number in range(40)]
    random.Random(7).shuffle(keys)
    source = rows_of(tmp_path, [table([(key, 0, None) for key in keys])])
    parts = list(latest_rows(source, NOON, NOON))
    assert len(parts) > 3
    assert [row["key"] for part in parts for row in part.to_pylist()] == keys


def test_no_files_no_rows() -> None:
    source = ParquetRows("shop", ds.dataset(pa.schema([]).empty_table()), ("key",), ("value",), "at", None)
    assert found(source) == []


def test_what_a_source_lacks(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="shop: no column colour; it has key, at, made, value"):
        found(rows_of(tmp_path, [table([("a", 0, None)])], features=("colour",)))
    with pytest.raises(StoreError, match="shop: column 'value' is string, expected timestamps"):
        found(rows_of(tmp_path, [table([("a", 0, None)])], event="value"))
