from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import encoders
from connector.adaptation.semantic.content import read_content
from connector.adaptation.semantic.spec import ContentSource
from connector.errors import CatalogueError


def write(folder: Path, **columns: list[object]) -> str:
    path = folder / "items.parquet"
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_words_become_vectors_and_an_empty_column_is_no_word(tmp_path: Path) -> None:
    path = write(tmp_path, item_id=["a", "b"], title=["Red dress", "Lamp"], tags=[["x", "y"], None])
    content = read_content(ContentSource(path=path, text="{title}. {tags}"), show=False)
    with encoders.load("text") as text:
        assert content.encoder == text.contract
        assert content.vectors == pytest.approx(text.encode(["Red dress. x, y", "Lamp. "]), abs=1e-5)
    assert content.ids == ["a", "b"]


def test_an_item_without_words_is_left_out_and_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path, item_id=["a", "b", "c"], title=["Lamp", None, None], year=[float("nan"), float("nan"), 1994.0]
    )
    found = read_content(ContentSource(path=path, text="{title}. {year}"), show=False)
    assert (found.ids, len(found.vectors)) == (["a", "c"], 2)
    assert found.skipped == {"item without words": 1}
    assert read_content(ContentSource(path=path, text="{title}"), show=False).ids == ["a"]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"item_id": ["a", "b"], "title": [" ", None]}, "no item has words: in all of them 'title' is empty"),
        ({"item_id": ["a", "a"], "title": ["x", "y"]}, "an id of its own"),
        ({"item_id": [1.0, float("nan")], "title": ["x", "y"]}, "an id of its own"),
        ({"item_id": ["a"], "name": ["x"]}, "no readable columns 'item_id', 'title'"),
    ],
)
def test_words_that_cannot_be_used(tmp_path: Path, columns: dict[str, list[object]], reason: str) -> None:
    with pytest.raises(CatalogueError, match=reason) as caught:
        read_content(ContentSource(path=write(tmp_path, **columns), text="{title}"), show=False)
    assert "\n" not in str(caught.value)
