from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from connector.adaptation.pairs import read_pairs
from connector.adaptation.spec import PairSource
from connector.errors import TrainingError


def decode(content: object) -> NDArray[np.uint8]:
    if not content:
        raise ValueError("empty picture")
    return np.full((2, 2, 3), bytes(content)[0], np.uint8)  # type: ignore[call-overload]


def write(path: Path, **columns: list[object]) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_rows_words_and_groups(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", image=[b"\1", b"\2", b"", b"\4"], name=["cup", "cup", "pan", None])
    second = write(tmp_path / "b.parquet", image=[b"\7"], name=["cup"], id=["x"])
    sources = (
        PairSource(path=first, text=("{name}", "a photo of a {name}")),
        PairSource(path=second, text=("{name}",), group=("id",)),
    )
    counted: list[int] = []
    pairs = read_pairs(sources, decode, (2, 2, 3), tmp_path / "cache", counted.append)
    assert len(pairs) == 3
    assert pairs.texts == ["cup", "a photo of a cup"]
    assert [ids.tolist() for ids in pairs.text_ids] == [[0, 1], [0, 1], [0]]
    assert pairs.groups[0] == pairs.groups[1] != pairs.groups[2]
    assert [rows.tolist() for rows in pairs.sources] == [[0, 1], [2]]
    assert pairs.skipped == {"picture: empty picture": 1, "no words": 1}
    assert pairs.pictures.take(np.asarray([2, 0]))[:, 0, 0, 0].tolist() == [7, 1]
    assert sum(counted) == 5


def test_rows_without_a_group_and_groups_of_other_columns(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", image=[b"\1"] * 4, name=["a", "b", "b", "c"], kind=[None, None, None, "1"])
    second = write(tmp_path / "b.parquet", image=[b"\1"] * 2, name=["d", "c"], size=["1", None])
    sources = (
        PairSource(path=first, text=("{name}",), group=("kind",)),
        PairSource(path=second, text=("{name}",), group=("size",)),
    )
    pairs = read_pairs(sources, decode, (2, 2, 3), tmp_path / "cache")
    a, b, again, kind_1, size_1, c = pairs.groups
    assert b == again
    assert len({a, b, kind_1, size_1, c}) == 5


def test_pictures_over_several_batches(tmp_path: Path) -> None:
    count = 700
    path = write(tmp_path / "a.parquet", image=[bytes([i % 251 + 1]) for i in range(count)], name=["n"] * count)
    pairs = read_pairs((PairSource(path=path, text=("{name}",)),), decode, (2, 2, 3), tmp_path)
    rows = np.asarray([699, 0, 256, 511, 512])
    assert pairs.pictures.take(rows)[:, 1, 1, 2].tolist() == [int(row) % 251 + 1 for row in rows]


@pytest.mark.parametrize(
    ("columns", "text", "reason"),
    [
        ({"image": [b""], "name": ["a"]}, "{name}", "not one usable pair.*empty picture"),
        ({"image": [b"\1"], "name": [" "]}, "{name}", "not one usable pair.*no words"),
        ({"image": [], "name": []}, "{name}", "no rows|not one usable pair"),
        ({"image": [b"\1"], "name": ["a"]}, "{title}", "no column 'title'; it has image, name"),
    ],
)
def test_nothing_to_learn_from(tmp_path: Path, columns: dict[str, list[object]], text: str, reason: str) -> None:
    path = write(tmp_path / "a.parquet", **columns)
    with pytest.raises(TrainingError, match=reason):
        read_pairs((PairSource(path=path, text=(text,)),), decode, (2, 2, 3), tmp_path)


def test_files_that_are_not_there_or_not_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 or not")
    for name, reason in (("a.parquet", "not readable as Parquet"), ("b.parquet", "no such file")):
        with pytest.raises(TrainingError, match=reason):
            read_pairs((PairSource(path=str(tmp_path / name), text=("{name}",)),), decode, (2, 2, 3), tmp_path)
