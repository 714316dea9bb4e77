from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from connector.adaptation import pretrain
from connector.adaptation.semantic.next_job import NOT_FOUND, id_scorer, read_encoder
from connector.adaptation.semantic.saving import load_generator, save_generator
from connector.adaptation.sequences.data import read_histories
from connector.adaptation.spec import parse_spec
from connector.errors import CatalogueError
from connector.evaluation.ranking import evaluate
from connector.evaluation.splits import Split
from encoders.errors import EncoderLoadError
from encoders.semantic.generator import SemanticIdModel
from encoders.semantic.recommender import Recommender
from encoders.semantic.trie import IdTrie, with_last_code
from encoders.towers.history import Shape
from encoders.weight_files import weights_hash

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
    spec = ring_job(shop_of_cycles, tmp_path, "out")
    report = pretrain(spec, show=False)
    assert report.metrics["test/recall@10"] > 0.6
    # The folder alone answers: it knows ids and items, and finds what the job's own evaluation found.
    model = load_generator(report.folder)
    (found,) = model.recommend([["i01", "i02", "i03", "i04", "i05"]], 5)
    assert "i06" in found.items
    histories = read_histories(spec)
    assert list(model.items) == histories.items
    assert histories.test is not None
    again = evaluate(id_scorer(model.module, histories.test, model.beams), histories.test)
    assert {f"test/{name}": value for name, value in again.means().items()}.items() <= report.metrics.items()
    asked = [[model.items[number] for number in histories.test.train[user]] for user in again.users]
    tops = [[model.items[number] for number in row[:4]] for row in again.top]
    assert [answer.items for answer in model.recommend(asked, 4)] == tops
    assert "interactions.parquet" in (report.folder / "README.md").read_text()
    # The file of ids says nothing of who made their vectors.
    assert read_encoder(tmp_path / "ids.parquet") is None
    assert json.loads((report.folder / "tower.json").read_text())["content_encoder"] is None


def saved(model: SemanticIdModel, folder: Path) -> Recommender:
    recommender = Recommender(model, ["a", "b", "c", "d", "e"], 3)
    save_generator(recommender, folder, None, "float32", "# A card")
    return recommender


def test_a_model_from_its_folder_answers_as_the_one_that_was_saved(model: SemanticIdModel, tmp_path: Path) -> None:
    recommender = saved(model, tmp_path / "model")
    again = load_generator(tmp_path / "model")
    assert (again.items, again.beams) == (recommender.items, 3)
    histories = [["a"], ["e", "c"], ["b", "b", "d", "a"]]
    for first, second in zip(recommender.recommend(histories, 5), again.recommend(histories, 5), strict=True):
        assert first.items == second.items
        np.testing.assert_array_equal(first.scores, second.scores)


def other_codes(folder: Path) -> None:
    save_file({"codes": torch.from_numpy(IDS).int().flip(0)}, folder / "codes.safetensors")


def no_codes(folder: Path) -> None:
    (folder / "codes.safetensors").unlink()


def other_items(folder: Path) -> None:
    (folder / "items.json").write_text('["b","a","c","d","e"]')


def no_items(folder: Path) -> None:
    (folder / "items.json").unlink()


def record_of_before(folder: Path) -> None:
    record = json.loads((folder / "tower.json").read_text())
    del record["items_sha256"], record["beams"]
    (folder / "tower.json").write_text(json.dumps(record))


def restated(folder: Path) -> None:
    """The record says that what lies there is right."""
    record = json.loads((folder / "tower.json").read_text())
    record["items_sha256"] = hashlib.sha256((folder / "items.json").read_bytes()).hexdigest()
    record["weights_hash"] = weights_hash(folder)
    (folder / "tower.json").write_text(json.dumps(record))


def without_codes(folder: Path) -> None:
    no_codes(folder)
    restated(folder)


def one_id_twice(folder: Path) -> None:
    save_file({"codes": torch.zeros(5, 3, dtype=torch.int32)}, folder / "codes.safetensors")
    restated(folder)


def codes_that_are_none(folder: Path) -> None:
    (folder / "codes.safetensors").write_bytes(b"none")
    restated(folder)


def fewer_items(folder: Path) -> None:
    (folder / "items.json").write_text('["a","b"]')
    restated(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_codes, r"the weights are not those of tower\.json .* copy the folder again"),
        (no_codes, r"the weights are not those of tower\.json"),
        (other_items, r"items\.json: is missing or was changed after the training"),
        (no_items, r"items\.json: is missing or was changed after the training"),
        (record_of_before, r"tower\.json is not that of a semantic id model with its ids; train it again"),
        (without_codes, r"codes\.safetensors: holds no semantic ids \(.+\); train"),
        (one_id_twice, r"codes\.safetensors: holds no semantic ids \(two items have one semantic id"),
        (codes_that_are_none, r"codes\.safetensors: holds no semantic ids \(.+\); train"),
        (fewer_items, r"model: 5 semantic ids for 2 items"),
    ],
)
def test_a_folder_whose_files_are_not_those_of_its_record(
    model: SemanticIdModel, tmp_path: Path, change: Callable[[Path], None], reason: str
) -> None:
    saved(model, tmp_path / "model")
    change(tmp_path / "model")
    with pytest.raises(EncoderLoadError, match=reason) as caught:
        load_generator(tmp_path / "model")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "model") in str(caught.value)


def test_resumed_is_undisturbed(shop_of_cycles: Path, tmp_path: Path) -> None:
    changes = {"steps": 12, "checkpoint_every": 4, "evaluate_every": 6}
    straight = pretrain(ring_job(shop_of_cycles, tmp_path, "straight", **changes), show=False)
    broken = ring_job(shop_of_cycles, tmp_path, "broken", **changes)
    pretrain(broken, until=5, show=False)
    resumed = pretrain(broken, resume=True, show=False)
    first, second = (load_file(report.folder / "model.safetensors") for report in (straight, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_items_without_an_id(shop_of_cycles: Path, tmp_path: Path) -> None:
    """As `semantic_ids` leaves them where an item has no words."""
    few, known = tmp_path / "few.parquet", [f"i{item:02d}" for item in range(20)]
    pq.write_table(pa.table({"item_id": known, "codes": [[item % 6, item // 6, 0] for item in range(20)]}), few)
    report = pretrain(ring_job(shop_of_cycles, tmp_path, "out", ids=str(few), steps=2), show=False)
    assert report.skipped["item without a semantic id"] == 4
    assert sum(report.skipped.values()) > 4  # and the times that somebody chose them
    assert load_generator(report.folder).items == tuple(known)


def test_ids_of_other_items(shop_of_cycles: Path, tmp_path: Path) -> None:
    others = tmp_path / "others.parquet"
    pq.write_table(pa.table({"item_id": ["x"], "codes": [[0, 0]]}), others)
    for ids, reason in (
        (others, "holds none of the 24 items"),
        (tmp_path / "absent", "run the job semantic_ids first"),
    ):
        with pytest.raises(CatalogueError, match=reason):
            pretrain(ring_job(shop_of_cycles, tmp_path, "out", ids=str(ids)), show=False)
