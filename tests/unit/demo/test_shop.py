from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from examples.demo import shop
from examples.demo.drawing import SIDE, draw_pixels
from examples.demo.goods import KINDS, PATTERNS, Good
from examples.demo.queries import MOST_RELEVANT
from examples.demo.wording import KIND_WORDS, PATTERN_PHRASES, PATTERN_WORDS


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return shop.catalogue(size=180)


def test_one_seed_one_shop(table: pa.Table, tmp_path: Path) -> None:
    assert shop.catalogue(size=20).equals(table.slice(0, 20))
    assert not shop.catalogue(seed=1, size=20).equals(table.slice(0, 20))
    assert pq.read_table(shop.write_catalogue(tmp_path / "shop.parquet", size=5)).equals(table.slice(0, 5))
    assert [path.name for path in tmp_path.iterdir()] == ["shop.parquet"]


def test_the_columns(table: pa.Table) -> None:
    assert table.schema == shop.SCHEMA
    assert len(set(table["item_id"].to_pylist())) == table.num_rows
    assert all(column.null_count == 0 for column in table.columns)
    assert min(table["price"].to_pylist()) > 0
    for content in table["image"].to_pylist()[:20]:
        picture = Image.open(io.BytesIO(content))
        assert (picture.format, picture.size) == ("JPEG", (SIDE, SIDE))


def test_attributes_are_plausible_and_varied() -> None:
    goods = shop.goods()
    assert len(goods) == 600
    assert set(Counter(good.kind for good in goods)) == set(KINDS)
    assert len(KINDS) >= 12
    assert len({good.colour for good in goods}) >= 10
    assert {good.pattern for good in goods} == set(PATTERNS)
    assert all(good.material in KINDS[good.kind].materials for good in goods)
    assert all(good.shade in shop.COLOURS[good.colour] for good in goods)


def test_words_are_true_and_not_always_the_attributes_own(table: pa.Table) -> None:
    plainly = 0
    for row in table.to_pylist():
        words = f"{row['title']} {row['description']}".lower()
        assert any(word in words for word in KIND_WORDS[row["kind"]])
        assert row["colour"] in words or any(shade in words for shade in shop.COLOURS[row["colour"]])
        patterns = (*PATTERN_WORDS[row["pattern"]], *PATTERN_PHRASES[row["pattern"]])
        assert any(word in words for word in patterns)
        plainly += row["kind"] in row["title"].lower() and row["colour"] in row["title"].lower()
    assert 0.1 < plainly / table.num_rows < 0.8


def test_the_colour_is_in_the_picture() -> None:
    for index, (colour, shades) in enumerate(shop.COLOURS.items()):
        good = Good("cushion", colour, colour, "plain", "cotton", 1.0)
        middle = draw_pixels(good, np.random.default_rng(index))[70:90, 70:90].reshape(-1, 3).mean(axis=0)
        assert np.abs(middle - shades[colour]).max() < 60


def test_what_differs_is_drawn_differently() -> None:
    def pixels(kind: str, colour: str, pattern: str, seed: int = 0) -> np.ndarray:
        good = Good(kind, colour, colour, pattern, "cotton", 1.0)
        return draw_pixels(good, np.random.default_rng(seed)).astype(int)

    drawn = [pixels(kind, "red", "plain") for kind in KINDS]
    drawn += [pixels("dress", colour, "plain") for colour in shop.COLOURS if colour != "red"]
    drawn += [pixels("dress", "red", pattern) for pattern in PATTERNS if pattern != "plain"]
    drawn += [pixels("dress", "red", "plain", seed=1)]
    for i, first in enumerate(drawn):
        assert all(np.abs(first - second).mean() > 1 for second in drawn[:i])


@pytest.mark.parametrize("seed", [0, 1])
def test_questions_have_right_answers(table: pa.Table, seed: int) -> None:
    asked = shop.queries(table, seed)
    items = table.to_pylist()
    assert len({query.name for query in asked}) == len(asked)
    assert {query.asks for query in asked} == {"text", "filter", "picture"}
    for query in asked:
        right = {item["item_id"] for item in items if query.accepts(item)}
        assert query.relevant == right
        assert 1 <= len(right) <= MOST_RELEVANT
        assert (query.text is None) == (query.asks == "picture") == (query.image is not None)
        assert (query.where is not None) == (query.asks == "filter")
        assert query.recall(sorted(right)) == 1.0
        assert query.recall([]) == 0.0
    pictures = set(table["image"].to_pylist())
    assert not any(query.image in pictures for query in asked)


def test_questions_repeat_and_a_small_shop_has_fewer(table: pa.Table) -> None:
    assert shop.queries(table, 3) == shop.queries(table, 3)
    few = shop.queries(table.slice(0, 3))
    assert 1 <= len([query for query in few if query.asks == "picture"]) <= 3


def test_the_demo_seed_is_never_trained_on() -> None:
    with pytest.raises(ValueError, match="held out"):
        shop.captioned_drawings(shop.CATALOGUE_SEED, 1)
    drawn = shop.captioned_drawings(1, 3)
    assert drawn.column_names == [*shop.SCHEMA.names, "caption"]
