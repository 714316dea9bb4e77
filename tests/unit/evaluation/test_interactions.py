from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from connector.errors import CatalogueError
from connector.evaluation import Interactions, InteractionSource, leave_one_out, read_interactions, time_split

ROWS = {
    "user_id": ["b", "a", "a", "b", "a", None, "c"],
    "item_id": ["x", "z", "x", "y", "y", "x", "z"],
    "event_timestamp": [3, 2, 1, 1, 2, 5, 9],
    "rating": [5.0, 4.0, 4.5, 4.0, 5.0, 5.0, 1.0],
}


def read(folder: Path, rows: dict[str, Any] | None = None, catalogue: list[str] | None = None, **changes: Any) -> Any:
    path = folder / "i.parquet"
    pq.write_table(pa.table(rows or ROWS), path)
    return read_interactions(InteractionSource(path=str(path), **changes), catalogue)


def named(found: Interactions) -> dict[str, list[str]]:
    return {u: [found.items[i] for i in h] for u, h in zip(found.users, found.histories, strict=True)}


def test_histories_in_order_of_time_and_ties_in_order_of_the_file(tmp_path: Path) -> None:
    found = read(tmp_path, value="rating", at_least=4)
    assert named(found) == {"a": ["x", "z", "y"], "b": ["y", "x"]}
    assert dict(found.skipped) == {"rating below 4": 1, "null key or time": 1}


def test_items_nobody_chose_are_numbered_too(tmp_path: Path) -> None:
    found = read(tmp_path, catalogue=["z", "x", "w"])
    assert found.items == ["w", "x", "z"]
    assert named(found) == {"a": ["x", "z"], "b": ["x"], "c": ["z"]}
    assert found.skipped["item not in the catalogue"] == 2


def test_integer_keys_and_timestamps(tmp_path: Path) -> None:
    rows = {
        "user_id": [10, 9, 10],
        "item_id": [1, 2, 3],
        "event_timestamp": pa.array([2, 1, 1], pa.timestamp("ns", "UTC")),
    }
    assert named(read(tmp_path, rows)) == {"10": ["3", "1"], "9": ["2"]}


def test_keys_that_a_null_made_fractions_of(tmp_path: Path) -> None:
    nan = float("nan")
    rows = {"user_id": [1.0, nan, 1.0, 2.0], "item_id": [7.0, 7.0, nan, 8.0], "event_timestamp": [1, 2, 3, 4]}
    found = read(tmp_path, rows)
    assert named(found) == {"1": ["7"], "2": ["8"]}
    assert dict(found.skipped) == {"null key or time": 2}


def test_a_time_or_value_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    rows = {
        "user_id": ["u"] * 4,
        "item_id": ["a", "b", "c", "d"],
        "event_timestamp": [float("nan"), 1.0, 2.0, 3.0],
        "rating": [5.0, 5.0, 5.0, float("nan")],
    }
    found = read(tmp_path, rows, value="rating", at_least=4)
    assert named(found) == {"u": ["b", "c"]}
    assert dict(found.skipped) == {"rating below 4": 1, "null key or time": 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"item": "movie"}, "no column 'movie'; it has user_id"),
        ({"time": "user_id"}, "wrong kind"),
        ({"value": "rating", "at_least": 6}, "not one usable interaction"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(CatalogueError, match=reason):
        read(tmp_path, **changes)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.parquet", tmp_path / "text.parquet"):
        if path.name == "text.parquet":
            path.write_text("no")
        with pytest.raises(CatalogueError, match="cannot be read as Parquet"):
            read_interactions(InteractionSource(path=str(path)))
    with pytest.raises(ValidationError, match="both value and at_least"):
        InteractionSource(path="x", value="rating")


def test_splits_cut_off_the_future(tmp_path: Path) -> None:
    histories = [pa.array(range(n)).to_numpy() for n in (11, 2, 1)]
    split = time_split(histories, 20)
    assert [len(part) for part in split.train] == [9, 1, 1]
    assert [part.tolist() for part in split.held] == [[9, 10], [1], []]
    assert split.users.tolist() == [0, 1]
    inner = split.without_validation()
    assert inner.held[0].tolist() == [8]
    assert inner.users.tolist() == [0]
    assert leave_one_out(histories, 20).held[0].tolist() == [10]
    with pytest.raises(CatalogueError, match="no user has two interactions"):
        time_split(histories[2:], 20)
