from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from connector.adaptation.losses import Scale, already_chosen, info_nce, same_meaning, sharing
from connector.adaptation.metrics import retrieval_recall


def test_value_by_hand() -> None:
    left = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    right = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # Logits at scale 1: [[1, .6], [0, .8]]; rows give image → text, columns text → image.
    rows = (math.log(math.e + math.exp(0.6)) - 1 + math.log(1 + math.exp(0.8)) - 0.8) / 2
    columns = (math.log(math.e + 1) - 1 + math.log(math.exp(0.6) + math.exp(0.8)) - 0.8) / 2
    loss = info_nce(left, right, torch.tensor(1.0), torch.eye(2, dtype=torch.bool))
    assert float(loss) == pytest.approx((rows + columns) / 2, abs=1e-6)


def test_pairs_of_one_meaning_are_not_negatives() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    scale = torch.tensor(20.0)
    twice = torch.cat([vectors, vectors])
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    once = info_nce(vectors, vectors, scale, same_meaning(torch.arange(4)))
    masked = info_nce(twice, twice, scale, same_meaning(labels))
    # Without the mask the twin of every row would cost at least log 2.
    assert float(info_nce(twice, twice, scale, same_meaning(torch.arange(8)))) > math.log(2)
    # With it the twin is gone; the three true negatives count twice.
    logits = scale * vectors @ vectors.T
    negatives = logits.exp().sum(1) - logits.diagonal().exp()
    expected = ((logits.diagonal().exp() + 2 * negatives).log() - logits.diagonal()).mean()
    assert float(masked) == pytest.approx(float(expected), rel=1e-4)
    assert float(masked) >= float(once)


def test_gradient_is_finite_where_everything_is_masked() -> None:
    left = torch.randn(3, 4, requires_grad=True)
    loss = info_nce(left, torch.randn(3, 4), torch.tensor(5.0), torch.ones(3, 3, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert left.grad is not None
    assert bool(torch.isfinite(left.grad).all())


def test_same_meaning_by_either_label() -> None:
    same = same_meaning(torch.tensor([0, 0, 1]), torch.tensor([5, 6, 6]))
    assert same.tolist() == [[True, True, False], [True, True, True], [False, True, True]]


def test_pairs_that_share_an_item_on_either_side() -> None:
    pairs = np.random.default_rng(0).integers(1, 9, (24, 2))
    first, second = torch.from_numpy(pairs).T
    wanted = [[bool(set(one) & set(other)) for other in pairs.tolist()] for one in pairs.tolist()]
    assert sharing(first, second).tolist() == wanted
    crossed = np.asarray(wanted) & ~same_meaning(first, second).numpy()
    assert crossed.any()


def test_what_follows_one_past_and_is_in_another() -> None:
    pasts = torch.tensor([[0, 1, 2], [0, 0, 3], [4, 5, 6], [0, 0, 7]])
    following = torch.tensor([3, 2, 1, 3])
    assert already_chosen(pasts, following).tolist() == [
        [True, True, True, True],  # 2 and 1 are in its past, and 3 follows it too
        [True, True, False, True],
        [False, False, True, False],
        [True, False, False, True],
    ]


@pytest.mark.parametrize(("temperature", "wanted", "bound"), [(0.0101, 50.0, 100.0), (0.99, 5.0, 1.0)])
def test_a_temperature_that_reached_its_bound_comes_back(temperature: float, wanted: float, bound: float) -> None:
    scale = Scale(temperature)
    optimizer = torch.optim.AdamW(scale.parameters(), lr=0.01, weight_decay=0.0)

    def train(steps: int, target: float) -> float:
        for _ in range(steps):
            optimizer.zero_grad()
            (scale().log() - math.log(target)).square().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return float(scale().detach())

    assert train(30, bound**2 * (10 if bound > 1 else 0.001)) == pytest.approx(bound, rel=1e-5)
    assert train(800, wanted) == pytest.approx(wanted, rel=0.05)


def test_one_label_of_several_is_enough() -> None:
    vectors = torch.eye(3)
    groups, words = torch.tensor([[0, 7], [1, 7], [2, 9]]), torch.tensor([[9, 7], [9, 7], [2, 5]])
    assert retrieval_recall(vectors, vectors, groups, words, 1) == 1.0
    assert retrieval_recall(vectors, vectors, groups[:, :1], words[:, :1], 1) == pytest.approx(1 / 3)
    assert retrieval_recall(vectors, vectors, groups[:, 1], words[:, 1], 1) == pytest.approx(2 / 3)
