from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.adaptation.sampler import MixedBatches, split, split_groups


def test_every_row_once_in_each_lap() -> None:
    batches = MixedBatches([np.arange(30), np.arange(30, 40)], [None, None], 8, seed=3)
    seen = Counter(int(row) for step in range(5) for row in batches.rows_of(step))
    assert seen == Counter(range(40))


def test_weights_decide_the_shares() -> None:
    batches = MixedBatches([np.arange(1000), np.arange(1000, 1010)], [0.25, 0.75], 16, seed=0)
    assert sum(row >= 1000 for row in batches.rows_of(7)) == 12


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    def make() -> MixedBatches:
        return MixedBatches([np.arange(20), np.arange(20, 27)], [1.0, 2.0], 9, seed=5)

    straight = make()
    run = [straight.rows_of(step).tolist() for step in range(30)]
    assert make().rows_of(29).tolist() == run[29]
    other = MixedBatches([np.arange(20), np.arange(20, 27)], [1.0, 2.0], 9, seed=6)
    assert other.rows_of(0).tolist() != run[0]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=4).filter(any), st.integers(2, 40), st.integers(0, 50))
def test_batches_are_of_one_size_and_of_known_rows(lengths: list[int], size: int, step: int) -> None:
    edges = np.cumsum([0, *lengths])
    sources = [np.arange(a, b) for a, b in pairwise(edges)]
    batches = MixedBatches(sources, [None] * len(sources), size, seed=1)
    rows = batches.rows_of(step)
    assert len(rows) == batches.batch_size == min(size, sum(lengths))
    assert set(rows.tolist()) <= set(range(sum(lengths)))


def test_a_small_source_comes_as_often_as_the_large_one() -> None:
    batches = MixedBatches([np.arange(100_000), np.arange(100_000, 100_300)], [None, None], 128, seed=0)
    rows = np.concatenate([batches.rows_of(step) for step in range(round(4 * batches.lap))])
    seen = np.bincount(rows[rows >= 100_000] - 100_000, minlength=300)
    assert abs(seen.sum() - 1200) <= 4
    assert set(seen.tolist()) <= {3, 4, 5}


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(1e-3, 1e3)), min_size=1, max_size=6),
    st.integers(2, 40),
    st.integers(1, 300),
)
def test_every_source_comes_in_its_share(sources: list[tuple[int, float]], size: int, steps: int) -> None:
    lengths, weights = zip(*sources, strict=True)
    edges = np.cumsum([0, *lengths])
    rows = [np.arange(a, b) for a, b in pairwise(edges)]
    batches = MixedBatches(rows, weights, size, seed=1)
    drawn = [batches.rows_of(step) for step in range(steps)]
    shares = np.asarray(weights) / sum(weights) * batches.batch_size
    for place, own in enumerate(rows):
        counts = np.asarray([np.isin(batch, own).sum() for batch in drawn])
        assert np.abs(counts - shares[place]).max() < 1 + 1e-6
        assert abs(counts.sum() - steps * shares[place]) < 5
        # Each time round every row comes once, wherever batches begin and end.
        came = np.concatenate([batch[np.isin(batch, own)] for batch in drawn])
        for start in range(0, len(came) - len(own) + 1, len(own)):
            assert sorted(came[start : start + len(own)].tolist()) == own.tolist()
    # Whoever goes on from a step gets what an undisturbed run got, and may go back.
    other = MixedBatches(rows, weights, size, seed=1)
    for step in (steps - 1, 0, steps // 2):
        assert other.rows_of(step).tolist() == drawn[step].tolist()


@pytest.mark.parametrize(("rows", "share", "held"), [(10, 0.2, 2), (10, 0.0, 0), (1, 0.5, 0)])
def test_split(rows: int, share: float, held: int) -> None:
    train, validation = split(rows, share, seed=4)
    assert len(validation) == held
    assert sorted([*train, *validation]) == list(range(rows))
    assert split(rows, share, seed=4)[1].tolist() == validation.tolist()


def test_groups_are_held_out_whole() -> None:
    generator = np.random.default_rng(0)
    for seed in range(20):
        groups, words = generator.integers(0, 30, 100), generator.integers(0, 60, 100)
        train, validation = split_groups(groups, words, 0.25, seed)
        assert sorted([*train, *validation]) == list(range(100))
        assert not set(groups[train]) & set(groups[validation])
        assert not set(words[train]) & set(words[validation])
    alone = np.arange(100)
    assert len(split_groups(alone, alone, 0.25, seed=4)[1]) == 25
    assert split_groups(alone, alone, 0.25, seed=4)[1].tolist() == split_groups(alone, alone, 0.25, seed=4)[1].tolist()
    assert split_groups(alone, alone, 0, seed=4)[1].tolist() == []


def test_groups_larger_than_the_share() -> None:
    # One of nine is more than a twentieth; it is held out all the same.
    nine = np.repeat(np.arange(9), 10)
    assert len(split_groups(nine, nine, 0.05, seed=0)[1]) == 10
    for seed in range(20):
        uneven = np.asarray([0] * 50 + [1] * 3 + [2] * 4)
        assert set(uneven[split_groups(uneven, uneven, 0.05, seed)[1]]) == {1}
    most = np.zeros(10, np.int64)
    assert split_groups(most, most, 0.5, seed=0)[1].tolist() == []
