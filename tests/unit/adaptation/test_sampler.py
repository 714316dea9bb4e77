from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.adaptation.sampler import MixedBatches, split


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


@pytest.mark.parametrize(("rows", "share", "held"), [(10, 0.2, 2), (10, 0.0, 0), (1, 0.5, 0)])
def test_split(rows: int, share: float, held: int) -> None:
    train, validation = split(rows, share, seed=4)
    assert len(validation) == held
    assert sorted([*train, *validation]) == list(range(rows))
    assert split(rows, share, seed=4)[1].tolist() == validation.tolist()
