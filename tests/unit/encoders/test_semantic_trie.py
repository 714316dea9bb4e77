from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.errors import EncoderLoadError
from encoders.semantic.generator import SemanticIdModel
from encoders.semantic.trie import IdTrie, with_last_code
from encoders.towers.history import Shape

Ids = list[tuple[int, ...]]


@st.composite
def some_ids(draw: st.DrawFn) -> Ids:
    levels = draw(st.integers(1, 4))
    code = st.integers(0, draw(st.sampled_from([1, 3, 300])))
    return draw(st.lists(st.tuples(*[code] * levels), min_size=1, max_size=30, unique=True))


def follow(trie: IdTrie, nodes: list[tuple[int, tuple[int, ...]]]) -> list[list[tuple[int, tuple[int, ...]]]]:
    """Each node with its codes → for each, its children with theirs."""
    columns, children = trie.branches(torch.tensor([[node for node, _ in nodes]]))
    found: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in nodes]
    for column, child in zip(columns[0].tolist(), children[0].tolist(), strict=True):
        if child >= 0:
            found[column].append((child, (*nodes[column][1], int(trie.codes[child]))))
    return found


@given(some_ids(), st.data())
@settings(max_examples=60, deadline=None)
def test_the_tree_is_that_of_a_plain_search(ids: Ids, data: st.DataObject) -> None:
    trie = IdTrie(np.asarray(ids, np.int64))
    gone = data.draw(st.lists(st.integers(-1, len(ids) - 1), max_size=40))
    ranks = trie.ranks(torch.tensor([gone], dtype=torch.int64))
    assert ranks.shape == (1, len(gone))
    nodes: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for level in range(len(ids[0])):
        branches = follow(trie, nodes)
        for (_, codes), children in zip(nodes, branches, strict=True):
            assert [path for _, path in children] == sorted({i[: level + 1] for i in ids if i[:level] == codes})
        nodes = [child for children in branches for child in children]
        emptied = trie.emptied(torch.tensor([[node for node, _ in nodes]]), ranks)[0].tolist()
        left = [item for item in range(len(ids)) if item not in gone]
        assert emptied == [not any(ids[item][: level + 1] == path for item in left) for _, path in nodes]
    items = trie.items(torch.tensor([[node for node, _ in nodes], [-1] * len(nodes)]))
    assert [ids[item] for item in items[0].tolist()] == [path for _, path in nodes]
    assert set(items[1].tolist()) == {-1}


def test_rows_are_followed_apart() -> None:
    trie = IdTrie(np.asarray([[0, 0], [0, 5], [2, 1], [3, 3]]))
    root = torch.zeros(3, 1, dtype=torch.int64)
    _, children = trie.branches(root)
    assert children.tolist() == [[1, 2, 3]] * 3
    columns, children = trie.branches(torch.tensor([[3, -1, 1], [-1, -1, -1], [2, 3, 1]]))
    assert [trie.items(row).tolist() for row in children] == [[3, 0, 1, -1], [-1] * 4, [2, 3, 0, 1]]
    assert columns[0, :3].tolist() == [0, 2, 2]
    assert columns[2].tolist() == [0, 1, 2, 2]
    _, nothing = trie.branches(torch.full((2, 2), -1))
    assert nothing.tolist() == [[-1], [-1]]


def test_memory_grows_with_nodes_and_not_with_the_codebook() -> None:
    codes = np.random.default_rng(0).integers(0, 65536, (5_000, 3))
    trie = IdTrie(with_last_code(codes))
    assert sum(table.nbytes for table in trie.buffers()) < 1_000_000


def test_tables_move_with_the_model_and_are_no_weights() -> None:
    trie = IdTrie(np.asarray([[0, 0], [0, 1], [2, 0]]))
    model = SemanticIdModel(trie, Shape(hidden=8, layers=1, heads=2, longest=4))
    assert not [name for name in model.state_dict() if name.startswith("trie")]
    model.to("meta")
    assert {table.device.type for table in model.trie.buffers()} == {"meta"}


@pytest.mark.parametrize("beams", [1, 4, 40])
def test_a_search_is_that_of_a_plain_one(beams: int) -> None:
    rng = np.random.default_rng(beams)
    ids = with_last_code(rng.integers(0, 9, (60, 2)))
    torch.manual_seed(0)
    model = SemanticIdModel(IdTrie(ids), Shape(hidden=8, layers=1, heads=2, longest=6, dropout=0.0)).eval()
    items = torch.from_numpy(rng.integers(1, 61, (5, 6)))
    without = [set(map(int, rng.choice(60, 50 - 12 * row, replace=False))) for row in range(5)]
    padded = torch.tensor([[*gone, *[-1] * (50 - len(gone))] for gone in without])
    found, scores = model.generate(items, beams, without=padded)
    assert found.shape == scores.shape == (5, beams)
    for row in range(5):
        wanted = plain_search(model, items[row : row + 1], beams, [i for i in range(60) if i not in without[row]])
        assert found[row].tolist() == [item for item, _ in wanted] + [-1] * (beams - len(wanted))
        np.testing.assert_allclose(scores[row, : len(wanted)], [score for _, score in wanted], atol=1e-5)
        assert scores[row, len(wanted) :].eq(-torch.inf).all()


@torch.no_grad()
def plain_search(model: SemanticIdModel, items: torch.Tensor, beams: int, left: list[int]) -> list[tuple[int, float]]:
    ids = [tuple(row) for row in model.trie.ids.tolist()]
    kept = [((), 0.0, model.states(items)[0, -1])]
    for level in range(len(ids[0])):
        grown = []
        for path, score, state in kept:
            chances = torch.log_softmax(model.depth[level](state), -1)
            for code in sorted({ids[item][level] for item in left if ids[item][:level] == path}):
                after = state + model.written[level].weight[code] if level < len(model.written) else state
                grown.append(((*path, code), score + float(chances[code]), after))
        kept = sorted(grown, key=lambda entry: -entry[1])[:beams]
    return [(ids.index(path), score) for path, score, _ in kept]


@pytest.mark.parametrize(
    ("ids", "reason"),
    [([[1, 2], [0, 0], [1, 2]], "two items have one semantic id"), ([[0, -1]], "codes ≥ 0"), ([], "at least one item")],
)
def test_ids_that_are_none(ids: list[list[int]], reason: str) -> None:
    with pytest.raises(EncoderLoadError, match=reason):
        IdTrie(np.asarray(ids, np.int64))
