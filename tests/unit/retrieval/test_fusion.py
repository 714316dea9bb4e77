"""Fusion: known answers, and properties that hold for any lists."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.retrieval.fusion import FUSIONS, Hit, reciprocal_rank_fusion, score_fusion

KEYS = st.lists(st.integers(0, 30).map(str), unique=True, max_size=12)
SCORES = st.floats(-10, 10, allow_nan=False)


@st.composite
def rankings(draw: st.DrawFn) -> dict[str, list[Hit]]:
    lists = draw(st.dictionaries(st.sampled_from(["a", "b", "c"]), KEYS, min_size=1))
    ranked = {}
    for name, keys in lists.items():
        scores = sorted((draw(SCORES) for _ in keys), reverse=True)
        ranked[name] = [Hit(key, score) for key, score in zip(keys, scores, strict=True)]
    return ranked


# Weights so small that their products underflow are told apart by nothing.
WEIGHTS = st.fixed_dictionaries({name: st.just(0.0) | st.floats(1e-6, 5) for name in "abc"})
METHODS = pytest.mark.parametrize("method", list(FUSIONS))


def test_reciprocal_ranks_of_the_paper() -> None:
    fused = reciprocal_rank_fusion(
        {"a": [Hit("x", 0.9), Hit("y", 0.8)], "b": [Hit("y", 7.0), Hit("z", 6.0)]}, {"a": 1.0, "b": 1.0}
    )
    assert [hit.key for hit in fused] == ["y", "x", "z"]
    assert fused[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert fused[2].score == pytest.approx(1 / 62)


def test_weights_decide_between_spaces() -> None:
    lists = {"a": [Hit("x", 1.0)], "b": [Hit("y", 1.0)]}
    assert reciprocal_rank_fusion(lists, {"a": 0.3, "b": 0.7})[0].key == "y"
    assert reciprocal_rank_fusion(lists, {"a": 0.7, "b": 0.3})[0].key == "x"


def test_scores_are_brought_to_one_scale() -> None:
    fused = score_fusion(
        {"a": [Hit("x", 0.9), Hit("y", 0.5), Hit("z", 0.1)], "b": [Hit("y", 900.0), Hit("x", 100.0)]},
        {"a": 1.0, "b": 1.0},
    )
    assert dict(fused) == pytest.approx({"y": 1.5, "x": 1.0, "z": 0.0})


def test_a_space_whose_hits_all_score_the_same_counts_each_in_full() -> None:
    assert dict(score_fusion({"a": [Hit("x", 0.5), Hit("y", 0.5)]}, {"a": 2.0})) == {"x": 2.0, "y": 2.0}


@METHODS
def test_ties_go_by_key(method: str) -> None:
    lists = {"a": [Hit(9, 1.0)], "b": [Hit(10, 1.0)]}
    assert [hit.key for hit in FUSIONS[method](lists, {"a": 1.0, "b": 1.0})] == [9, 10]


@METHODS
@given(lists=rankings(), weights=WEIGHTS, seed=st.integers())
def test_the_order_of_the_spaces_does_not_matter(
    method: str, lists: dict[str, list[Hit]], weights: dict[str, float], seed: int
) -> None:
    names = list(lists)
    random.Random(seed).shuffle(names)
    assert FUSIONS[method]({name: lists[name] for name in names}, weights) == FUSIONS[method](lists, weights)


@METHODS
@given(lists=rankings(), weights=WEIGHTS)
def test_every_key_of_a_weighted_space_appears_once_best_first(
    method: str, lists: dict[str, list[Hit]], weights: dict[str, float]
) -> None:
    fused = FUSIONS[method](lists, weights)
    assert {hit.key for hit in fused} == {hit.key for name, hits in lists.items() if weights[name] > 0 for hit in hits}
    assert len({hit.key for hit in fused}) == len(fused)
    assert [(-hit.score, hit.key) for hit in fused] == sorted((-hit.score, hit.key) for hit in fused)


@METHODS
@given(lists=rankings(), weights=WEIGHTS)
def test_a_weight_of_zero_leaves_a_space_out(
    method: str, lists: dict[str, list[Hit]], weights: dict[str, float]
) -> None:
    without = {name: hits for name, hits in lists.items() if name != "a"}
    assert FUSIONS[method](lists, {**weights, "a": 0.0}) == FUSIONS[method](without, weights)


@METHODS
@given(lists=rankings(), weights=WEIGHTS)
def test_doubling_all_weights_keeps_the_order(
    method: str, lists: dict[str, list[Hit]], weights: dict[str, float]
) -> None:
    doubled = {name: 2 * weight for name, weight in weights.items()}
    assert [h.key for h in FUSIONS[method](lists, doubled)] == [h.key for h in FUSIONS[method](lists, weights)]


@given(keys=KEYS)
def test_one_space_alone_keeps_its_order(keys: list[str]) -> None:
    hits = [Hit(key, -float(position)) for position, key in enumerate(keys)]
    assert [hit.key for hit in reciprocal_rank_fusion({"a": hits}, {"a": 0.5})] == keys


@given(lists=rankings(), weights=WEIGHTS, constant=st.integers(1, 1000))
def test_reciprocal_rank_fusion_ignores_the_scores(
    lists: dict[str, list[Hit]], weights: dict[str, float], constant: int
) -> None:
    flat = {name: [Hit(hit.key, 0.0) for hit in hits] for name, hits in lists.items()}
    assert reciprocal_rank_fusion(lists, weights, constant) == reciprocal_rank_fusion(flat, weights, constant)
