from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from encoders.errors import EncoderLoadError, InvalidInputError
from encoders.semantic import recommender as module_under_test
from encoders.semantic.generator import SemanticIdModel
from encoders.semantic.recommender import Recommender, next_items
from encoders.semantic.trie import IdTrie, with_last_code
from encoders.towers.history import Shape

ITEMS = [f"i{item}" for item in range(30)]


@pytest.fixture(scope="module")
def model() -> Recommender:
    torch.manual_seed(0)
    trie = IdTrie(with_last_code(np.random.default_rng(0).integers(0, 4, (30, 2))))
    return Recommender(SemanticIdModel(trie, Shape(hidden=8, layers=1, heads=2, longest=4)), ITEMS, 6)


def test_answers_are_ids_and_log_probabilities_best_first(model: Recommender) -> None:
    answers = model.recommend([["i3", "i4"], "i7", {"items": [b"i1", "i2"]}], 3)
    assert [len(answer.items) for answer in answers] == [3, 3, 3]
    for answer in answers:
        assert answer.scores.dtype == np.float32
        assert answer.scores.shape == (3,)
        assert (np.diff(answer.scores) <= 0).all()
        assert (answer.scores < 0).all()
        assert set(answer.items) <= set(ITEMS)
    assert model.recommend([]) == []
    assert model.recommend(["i7"], 3)[0].items == answers[1].items


def test_nothing_of_a_history_is_found_however_long_it_is(model: Recommender) -> None:
    first, second = model.recommend([ITEMS[:28], ITEMS], 30)
    assert sorted(first.items) == ["i28", "i29"]
    assert second.items == []
    assert second.scores.shape == (0,)
    # Of one item all others are found, although the search was made narrower.
    assert sorted(model.recommend([["i0"]], 1000)[0].items) == sorted(ITEMS[1:])


def test_the_newest_items_are_read_and_unknown_ones_passed_over(model: Recommender) -> None:
    (plain,) = model.recommend([["i1", "i2", "i3", "i4"]], 5)
    (mixed,) = model.recommend([["x", "i1", "i2", "y", "i3", "i4", "z"]], 5)
    assert plain.items == mixed.items
    np.testing.assert_array_equal(plain.scores, mixed.scores)
    (longer,) = model.recommend([["i9", "i1", "i2", "i3", "i4"]], 30)
    (whole,) = model.recommend([["i1", "i2", "i3", "i4"]], 30)
    assert longer.items == [item for item in whole.items if item != "i9"]


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (["x", "y"], r"input 1: none of the history's 2 items \('x', …\) was there in training"),
        ([], "input 1: the history is empty"),
        (None, "input 1: expected a list of item ids, got NoneType"),
        ([0.5, 1.5], "input 1: this model takes item ids, not content vectors"),
    ],
)
def test_a_history_that_is_none_is_named_by_its_position(model: Recommender, history: Any, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        model.recommend([["i1"], history])
    assert caught.value.index == 1


def test_questions_that_are_none(model: Recommender) -> None:
    with pytest.raises(InvalidInputError, match="k is 0; ask for at least one item"):
        model.recommend([["i1"]], 0)
    for alone in ("i1", b"i1", {"items": ["i1"]}):
        with pytest.raises(InvalidInputError, match="expected a list of histories, got"):
            model.recommend(alone)  # type: ignore[arg-type]


@pytest.mark.parametrize("items", [ITEMS[:29], [*ITEMS[:29], "i0"], [*ITEMS, "i30"]])
def test_every_item_has_one_id(model: Recommender, items: list[str]) -> None:
    with pytest.raises(EncoderLoadError, match="30 semantic ids for"):
        Recommender(model.module, items, 6)


def test_wide_searches_take_fewer_histories_at_once(model: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    histories = [np.arange(start, start + 3) for start in range(20)]
    found, scores = next_items(model.module, histories, 10)
    assert found.shape == scores.shape == (20, 10)
    sizes: list[int] = []
    generate = model.module.generate
    monkeypatch.setattr(
        model.module,
        "generate",
        lambda items, *rest, **named: sizes.append(len(items)) or generate(items, *rest, **named),
    )
    monkeypatch.setattr(module_under_test, "CELLS", 10 * max(model.module.trie.sizes) * 3)
    again, _ = next_items(model.module, histories, 10)
    np.testing.assert_array_equal(again, found)
    assert max(sizes) == 3
