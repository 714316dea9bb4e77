from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from connector.adaptation import pretrain
from connector.adaptation.semantic.next_job import NOT_FOUND, id_scorer, read_encoder
from connector.adaptation.semantic.saving import load_generator
from connector.adaptation.spec import parse_spec
from connector.errors import CatalogueError
from connector.evaluation.splits import Split
from encoders.errors import EncoderLoadError
from encoders.semantic.generator import SemanticIdModel
from encoders.semantic.trie import IdTrie, with_last_code
from encoders.towers.history import Shape

IDS = np.asarray([[0, 0, 0], [0, 1, 0], [0, 1, 1], [2, 0, 0], [2, 2, 0]])


@pytest.fixture
def model() -> SemanticIdModel:
    torch.manual_seed(0)
    return SemanticIdModel(IdTrie(IDS), Shape(hidden=8, layers=1, heads=2, longest=6, dropout=0.0)).eval()


def exact(model: SemanticIdModel, items: torch.Tensor) -> np.ndarray:
    """Log-probability of every item's id, one by one."""
    with torch.no_grad():
        state = model.states(items)[:, -1]
        scores = np.zeros((len(items), len(IDS)))
        for item, codes in enumerate(IDS):
            rolling = state
            for level, code in enumerate(codes):
                scores[:, item] += torch.log_softmax(model.depth[level](rolling), -1)[:, code].numpy()
                if level < 2:
                    rolling = rolling + model.written[level].weight[code]
    return scores


def test_only_ids_that_exist_are_written_and_wide_beams_are_exact(model: SemanticIdModel) -> None:
    items = torch.tensor([[0, 1, 3], [5, 4, 2]])
    found, chances = model.generate(items, 50)
    wanted = exact(model, items)
    for row in range(2):
        valid = found[row][found[row] >= 0].tolist()
        assert sorted(valid) == [0, 1, 2, 3, 4]
        assert valid == np.argsort(-wanted[row]).tolist()
        assert chances[row][: len(valid)].numpy() == pytest.approx(np.sort(wanted[row])[::-1], abs=1e-5)


def test_narrow_beams_still_write_only_what_exists(model: SemanticIdModel) -> None:
    found, chances = model.generate(torch.tensor([[1, 2, 3]]), 2)
    assert found.shape == (1, 2)
    assert set(found[0].tolist()) <= {0, 1, 2, 3, 4}
    assert torch.isfinite(chances).all()


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_what_is_left_out_takes_no_room_in_the_beam(model: SemanticIdModel, beams: int) -> None:
    items = torch.tensor([[0, 1, 3], [5, 4, 2], [1, 1, 1]])
    # Of the first two everything under one first code goes; of the last nothing is left.
    without = [[0, 1, 2, 1], [3, 4], [4, 3, 2, 1, 0]]
    padded = torch.tensor([[*row, *[-1] * (5 - len(row))] for row in without])
    found, chances = model.generate(items, beams, without=padded)
    wanted = exact(model, items)
    for row in range(3):
        wanted[row, without[row]] = -np.inf
        left = len(IDS) - len(set(without[row]))
        valid = found[row][found[row] >= 0].tolist()
        assert len(valid) == min(beams, left)
        assert not set(valid) & set(without[row])
        if beams >= left:
            assert valid == np.argsort(-wanted[row]).tolist()[:left]
            assert chances[row][:left].numpy() == pytest.approx(np.sort(wanted[row])[::-1][:left], abs=1e-5)
    nothing, _ = model.generate(items, beams, without=torch.zeros(3, 0, dtype=torch.int64))
    assert torch.equal(nothing, model.generate(items, beams)[0])


def test_a_long_history_leaves_a_whole_beam() -> None:
    rng = np.random.default_rng(0)
    codes = with_last_code(rng.integers(0, 5, (120, 2)))
    torch.manual_seed(0)
    model = SemanticIdModel(IdTrie(codes), Shape(hidden=8, layers=1, heads=2, longest=6, dropout=0.0)).eval()
    order = rng.permutation(120)
    split = Split([order[:100], order[:3], order[:0]], [order[100:]] * 3, 120)
    scores = id_scorer(model, split, 20)(np.arange(3))
    found = [np.flatnonzero(row > NOT_FOUND) for row in scores]
    assert sorted(found[0]) == sorted(order[100:])
    assert [len(row) for row in found] == [20, 20, 20]
    assert not set(found[1]) & set(order[:3])
    # What others of the batch went through changes nothing.
    np.testing.assert_allclose(id_scorer(model, split, 20)(np.asarray([1]))[0], scores[1], rtol=1e-5)


def test_the_loss_is_that_of_the_ids(model: SemanticIdModel) -> None:
    windows = torch.tensor([[0, 1, 4]])
    loss = model.loss(windows)
    assert loss.item() == pytest.approx(-exact(model, torch.tensor([[1]]))[0, 3], abs=1e-5)


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros((0, 2)), np.asarray([[-1, 0]])])
def test_ids_that_are_none(bad: np.ndarray) -> None:
    with pytest.raises(EncoderLoadError, match="semantic id"):
        IdTrie(bad.astype(np.int64))


def ring_job(folder: Path, tmp_path: Path, out: str, **changes: Any) -> Any:
    ids = tmp_path / "ids.parquet"
    codes = [[item % 6, item // 6, 0] for item in range(24)]
    pq.write_table(pa.table({"item_id": [f"i{item:02d}" for item in range(24)], "codes": codes}), ids)
    values: dict[str, Any] = {
        "job": "next_semantic_id",
        "out": str(tmp_path / out),
        "interactions": {"path": str(folder / "interactions.parquet")},
        "ids": str(ids),
        "test": 0.1,
        "hidden": 16,
        "layers": 1,
        "longest": 6,
        "batch_size": 32,
        "steps": 150,
        "learning_rate": 0.01,
        "evaluate_every": 75,
        "checkpoint_every": 150,
        "device": "cpu",
    }
    return parse_spec({**values, **changes})


def test_a_ring_is_learned(shop_of_cycles: Path, tmp_path: Path) -> None:
    report = pretrain(ring_job(shop_of_cycles, tmp_path, "out"), show=False)
    assert report.metrics["test/recall@10"] > 0.6
    trie = IdTrie(np.asarray([[item % 6, item // 6, 0] for item in range(24)]))
    model = load_generator(report.folder, trie)
    found, _ = model.generate(torch.tensor([[2, 3, 4, 5, 6]]), 5)
    assert 6 in found[0].tolist()
    with pytest.raises(EncoderLoadError, match="was trained on ids of"):
        load_generator(report.folder, IdTrie(IDS))
    with pytest.raises(EncoderLoadError, match="was trained on other ids"):
        load_generator(report.folder, IdTrie(np.roll(trie.ids, 1, axis=0)))
    assert "interactions.parquet" in (report.folder / "README.md").read_text()
    # The file of ids says nothing of who made their vectors.
    assert read_encoder(tmp_path / "ids.parquet") is None
    assert json.loads((report.folder / "tower.json").read_text())["content_encoder"] is None


def test_resumed_is_undisturbed(shop_of_cycles: Path, tmp_path: Path) -> None:
    changes = {"steps": 12, "checkpoint_every": 4, "evaluate_every": 6}
    straight = pretrain(ring_job(shop_of_cycles, tmp_path, "straight", **changes), show=False)
    broken = ring_job(shop_of_cycles, tmp_path, "broken", **changes)
    pretrain(broken, until=5, show=False)
    resumed = pretrain(broken, resume=True, show=False)
    first, second = (load_file(report.folder / "model.safetensors") for report in (straight, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_items_without_an_id(shop_of_cycles: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.parquet"
    pq.write_table(pa.table({"item_id": ["i00"], "codes": [[0, 0]]}), few)
    for ids, reason in ((few, "items have no semantic id"), (tmp_path / "absent", "run the job semantic_ids first")):
        with pytest.raises(CatalogueError, match=reason):
            pretrain(ring_job(shop_of_cycles, tmp_path, "out", ids=str(ids)), show=False)
