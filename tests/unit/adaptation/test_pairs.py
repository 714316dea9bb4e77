from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from connector.adaptation.pairs import read_pairs
from connector.adaptation.pictures import write_pictures
from connector.adaptation.spec import PairSource
from connector.errors import TrainingError


def decode(content: object) -> NDArray[np.uint8]:
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
    assert pairs.others == ["cup", "a photo of a cup"]
    assert [ids.tolist() for ids in pairs.other_ids] == [[0, 1], [0, 1], [0]]
    assert pairs.groups[0] == pairs.groups[1] != pairs.groups[2]
    assert [rows.tolist() for rows in pairs.sources] == [[0, 1], [2]]
    assert pairs.skipped == {"picture: empty file": 1, "no words": 1}
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
        ({"image": [b""], "name": ["a"]}, "{name}", "not one usable pair.*empty file"),
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
    (tmp_path / "b.txt").write_text("words")
    for name, reason in (("a.parquet", "broken Parquet"), ("b.txt", "unknown format"), ("c.parquet", "no such file")):
        with pytest.raises(TrainingError, match=reason):
            read_pairs((PairSource(path=str(tmp_path / name), text=("{name}",)),), decode, (2, 2, 3), tmp_path)


def test_every_source_is_looked_for_before_one_is_read(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", image=[b"\1"], name=["cup"])
    sources = tuple(PairSource(path=path, text=("{name}",)) for path in (first, str(tmp_path / "gone.parquet")))
    counted: list[int] = []
    with pytest.raises(TrainingError, match=r"gone\.parquet: no such file"):
        read_pairs(sources, decode, (2, 2, 3), tmp_path / "cache", counted.append)
    assert not counted
    assert not (tmp_path / "cache").exists()


def test_words_in_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", image=[b"\1", b"\2"], name=[b"cup", b"\xff"])
    pairs = read_pairs((PairSource(path=path, text=("{name}",)),), decode, (2, 2, 3), tmp_path / "cache")
    assert (pairs.others, dict(pairs.skipped)) == (["cup"], {"no words": 1})


def test_lists_and_numbers_in_words(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.parquet", image=[b"\1"] * 3, genres=[["Drama", "War"], [], ["War"]], year=[1.0, 2.0, float("nan")]
    )
    source = PairSource(path=path, text=("{genres}", "of {year}"))
    pairs = read_pairs((source,), decode, (2, 2, 3), tmp_path / "cache")
    assert [[pairs.others[number] for number in ids] for ids in pairs.other_ids] == [
        ["Drama, War", "of 1.0"],
        ["of 2.0"],
        ["War"],
    ]
    pairs = read_pairs((source.model_copy(update={"text": ("of {year}",)}),), decode, (2, 2, 3), tmp_path / "cache")
    assert (pairs.others, dict(pairs.skipped)) == (["of 1.0", "of 2.0"], {"no words": 1})


def test_rows_that_another_process_read_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def written(path: Path, batches: Iterator[NDArray[np.uint8]], *how: Any) -> None:
        write_pictures(path, (batch[1:] for batch in batches), *how)

    monkeypatch.setattr("connector.adaptation.pairs.write_pictures", written)
    path = write(tmp_path / "a.parquet", image=[b"\1", b"\2"], name=["cup", "pan"])
    with pytest.raises(TrainingError, match="another process read 1 usable pairs, this one 2"):
        read_pairs((PairSource(path=path, text=("{name}",)),), decode, (2, 2, 3), tmp_path / "cache")
