from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from connector.errors import CatalogueError
from connector.evaluation import (
    ContentMean,
    Ease,
    ItemKnn,
    Popularity,
    Split,
    difference,
    evaluate,
    interval,
    random_vectors,
    shuffled,
)


def history(*items: int) -> NDArray[np.int64]:
    return np.asarray(items, np.int64)


SPLIT = Split([history(0), history(1)], [history(2, 3), history(0)], 5)


def test_figures_by_hand() -> None:
    scores = np.asarray([[9, 5, 4, 1, 3], [1, 9, 2, 3, 4]], np.float32)
    found = evaluate(lambda users: scores[users], SPLIT, cuts=(2, 4))
    # User 0: the seen item 0 is left out, then 1, 2, 4, 3; user 1: 4, 3, 2, 0.
    assert found.by_name["recall@2"].tolist() == [0.5, 0.0]
    assert found.by_name["recall@4"].tolist() == [1.0, 1.0]
    assert found.by_name["mrr"].tolist() == [1 / 2, 1 / 4]
    ideal = 1 + 1 / math.log2(3)
    assert found.by_name["ndcg@4"] == pytest.approx([(1 / math.log2(3) + 1 / math.log2(5)) / ideal, 1 / math.log2(5)])
    assert found.top[0, :2].tolist() == [1, 2]


def test_users_who_only_chose_again_are_not_asked() -> None:
    scores = np.asarray([[9, 5, 4, 1], [1, 9, 2, 3], [5, 4, 3, 2]], np.float32)
    split = Split([history(0), history(1, 2), history(0)], [history(0, 2), history(2, 1), history()], 4)
    found = evaluate(lambda users: scores[users], split, cuts=(2,))
    # User 0 is asked for item 2 alone, user 1 for nothing that could be found.
    assert found.users.tolist() == [0]
    assert found.by_name["recall@2"].tolist() == [1.0]
    assert found.by_name["mrr"].tolist() == [0.5]
    assert len(found.top) == 1
    again = evaluate(lambda users: scores[users], split, cuts=(2,), exclude_seen=False)
    assert again.users.tolist() == [0, 1]
    with pytest.raises(CatalogueError, match="no user has an item held out that was not in the history before"):
        evaluate(lambda users: scores[users], Split([history(0)], [history(0)], 4))


def test_scores_that_are_none() -> None:
    for bad in (np.full((2, 5), np.nan), np.zeros((2, 4))):
        with pytest.raises(CatalogueError, match="are not numbers of shape"):
            evaluate(lambda users, bad=bad: bad[users], SPLIT)  # type: ignore[misc]


def test_intervals() -> None:
    values = np.random.default_rng(0).normal(1, 1, 400)
    found = interval(values)
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(4 * 1 / 20, rel=0.15)
    assert interval(values) == found
    shift = difference(values + 0.1, values)
    assert shift.low == pytest.approx(0.1)
    assert shift.high == pytest.approx(0.1)


def groups_of_taste(seed: int = 0) -> Split:
    """Two groups of users, each with ten items of its own."""
    rng = np.random.default_rng(seed)
    train, held = [], []
    for user in range(60):
        order = rng.permutation(10) + 10 * (user % 2)
        train.append(order[:6])
        held.append(order[6:8])
    return Split(train, held, 20)


@pytest.mark.parametrize("make", [ItemKnn, Ease])
def test_baselines_learn_who_goes_with_whom(make: type[ItemKnn] | type[Ease]) -> None:
    split = groups_of_taste()
    popular = evaluate(Popularity(split.train, split.items), split, cuts=(4,)).means()["recall@4"]
    learned = evaluate(make(split.train, split.items), split, cuts=(4,)).means()["recall@4"]
    assert learned > 0.9 > popular + 0.2


def test_ease_is_the_closed_form() -> None:
    """Steck 2019, equation 8, on a matrix small enough to solve column by column."""
    split = groups_of_taste()
    x = np.zeros((60, 20))
    for user, items in enumerate(split.train):
        x[user, items] = 1
    weights = np.zeros((20, 20))
    for item in range(20):
        others = [other for other in range(20) if other != item]
        a = x[:, others]
        weights[others, item] = np.linalg.solve(a.T @ a + 5 * np.eye(19), a.T @ x[:, item])
    found = Ease(split.train, 20, regularisation=5)(np.arange(60))
    assert found == pytest.approx(x @ weights, abs=1e-5)


def test_content_beats_its_controls() -> None:
    split = groups_of_taste()
    rng = np.random.default_rng(1)
    vectors = np.eye(2, 8, dtype=np.float32)[np.arange(20) // 10] + 0.1 * rng.normal(size=(20, 8)).astype(np.float32)

    def recall(chosen: NDArray[np.float32]) -> float:
        return evaluate(ContentMean(split.train, chosen), split, cuts=(4,)).means()["recall@4"]

    assert recall(vectors) > 0.9
    assert recall(shuffled(vectors)) < 0.7
    assert recall(random_vectors(20, 8)) < 0.7


def test_content_of_nothing_is_no_error() -> None:
    scorer = ContentMean([history()], np.zeros((3, 4), np.float32), recent=2)
    assert scorer(np.asarray([0])).tolist() == [[0.0, 0.0, 0.0]]
