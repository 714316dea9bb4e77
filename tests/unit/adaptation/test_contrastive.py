from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

import encoders
from connector.adaptation import ContrastiveSpec, pretrain_contrastive
from connector.errors import ConfigurationError, TrainingError

SpecMaker = Callable[..., ContrastiveSpec]


def weights(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: load_file(path) for path in sorted(folder.glob("*.safetensors"))}  # type: ignore[misc]


def same_weights(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(
        a[file].keys() == b[file].keys() and all(np.array_equal(a[file][n], b[file][n]) for n in a[file]) for file in a
    )


def test_a_job_of_seconds_learns_and_its_encoder_loads(make_spec: SpecMaker, pairs_file: Path) -> None:
    report = pretrain_contrastive(make_spec(), show=False)
    # Sixteen meanings: chance is 1/16.
    assert report.metrics["image_to_text/recall@1"] > 0.6
    assert report.metrics["text_to_image/recall@1"] > 0.6
    assert (report.pairs, report.held_out, report.steps) == (192, 48, 60)
    assert "16 pairs" not in str(report)
    card = (report.folder / "README.md").read_text()
    assert "pairs.parquet" in card
    assert "on the rows held out" in card
    assert "Nothing was held out" not in card
    assert str(pairs_file.parent) not in card

    rows = pq.read_table(pairs_file).slice(0, 16).to_pylist()
    with encoders.load(report.folder, name="halves") as image, encoders.load("text") as text:
        assert image.contract.shares_space_with(text.contract)
        pictures = image.encode([row["image"] for row in rows])
        words = text.encode([f"{row['colour']} on the {row['form']}" for row in rows])
    assert np.mean(np.argmax(pictures @ words.T, axis=1) == np.arange(16)) > 0.6


def test_resumed_is_undisturbed(make_spec: SpecMaker) -> None:
    straight = pretrain_contrastive(make_spec("straight", steps=24, checkpoint_every=8, evaluate_every=12), show=False)
    broken = make_spec("broken", steps=24, checkpoint_every=8, evaluate_every=12)
    pretrain_contrastive(broken, until=10, show=False)
    resumed = pretrain_contrastive(broken, resume=True, show=False)
    assert resumed.steps == 24
    assert same_weights(straight.folder, resumed.folder)
    other = pretrain_contrastive(make_spec("other", steps=24, evaluate_every=12, seed=1), show=False)
    assert not same_weights(straight.folder, other.folder)


def test_a_tower_is_trained_further(make_spec: SpecMaker) -> None:
    first = pretrain_contrastive(make_spec("first", weights="float32"), show=False)
    further = make_spec(
        "further", steps=1, learning_rate=1e-9, tower={"kind": "pretrained", "source": str(first.folder)}
    )
    second = pretrain_contrastive(further, show=False)
    assert second.metrics["image_to_text/recall@1"] == pytest.approx(first.metrics["image_to_text/recall@1"], abs=0.15)


def test_frozen_parts_and_statistics_stay_and_the_rest_learns(make_spec: SpecMaker) -> None:
    first = pretrain_contrastive(make_spec("first", steps=10, weights="float32"), show=False)
    tower = {"kind": "pretrained", "source": str(first.folder), "keep_statistics": True, "train_size": 16}
    further = make_spec(
        "further", steps=3, weights="float32", tower={**tower, "freeze": ["backbone.embedder.*", "projection.bias"]}
    )
    second = pretrain_contrastive(further, show=False)
    before, after = weights(first.folder), weights(second.folder)
    for file in before:
        for name, value in before[file].items():
            still = name.startswith("embedder.") or "running" in name or "batches_tracked" in name or name == "bias"
            assert np.array_equal(value, after[file][name]) == (still or not value.any()), name
    with encoders.load(second.folder, name="halves") as image:
        assert image.contract.max_input == 24


@pytest.mark.parametrize(
    ("patterns", "complaint"),
    [(["backbone.nowhere.*"], r"no parameter is named 'backbone.nowhere"), (["*"], "nothing is left to learn")],
)
def test_what_cannot_be_frozen_is_one_line(make_spec: SpecMaker, patterns: list[str], complaint: str) -> None:
    tower = {"kind": "pretrained", "source": "image", "freeze": patterns}
    with pytest.raises(TrainingError, match=complaint):
        pretrain_contrastive(make_spec(tower=tower), show=False)


def test_too_few_pairs(make_spec: SpecMaker, tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    pq.write_table(pa.table({"image": pa.array([b"not a picture", None], pa.binary()), "name": ["a", "b"]}), path)
    spec = make_spec(pairs=[{"path": str(path), "text": ["{name}"]}])
    with pytest.raises(TrainingError, match="not one usable pair"):
        pretrain_contrastive(spec, show=False)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ({"text": ["{colour}"]}, r"all 12 pairs to learn from have the same words \(column colour\)"),
        ({"text": ["{form}"], "group": ["colour"]}, r"all 12 pairs to learn from are alike \(column colour\)"),
    ],
)
def test_pairs_that_do_not_differ_are_one_line(
    make_spec: SpecMaker, pairs_file: Path, tmp_path: Path, source: dict[str, object], complaint: str
) -> None:
    table = pq.read_table(pairs_file)
    pq.write_table(table.filter(pc.equal(table["colour"], "red")).slice(0, 12), tmp_path / "red.parquet")
    spec = make_spec(pairs=[{"path": str(tmp_path / "red.parquet"), **source}], validation=0.0)
    with pytest.raises(TrainingError, match=complaint):
        pretrain_contrastive(spec, show=False)


def test_report_and_card_say_that_nothing_was_held_out(make_spec: SpecMaker, pairs_file: Path, tmp_path: Path) -> None:
    pq.write_table(pq.read_table(pairs_file).slice(0, 8), tmp_path / "few.parquet")
    source = {"path": str(tmp_path / "few.parquet"), "text": ["{colour} on the {form}"]}
    report = pretrain_contrastive(make_spec(pairs=[source], validation=0.05, steps=2), show=False)
    assert report.held_out == 0
    assert str(report).startswith("8 pairs, none held out (figures of rows learned from), 2 steps")
    card = (report.folder / "README.md").read_text()
    assert "Nothing was held out" in card
    assert "on the rows held out" not in card


def test_whole_groups_are_held_out(make_spec: SpecMaker) -> None:
    report = pretrain_contrastive(make_spec(hold_out="groups", validation=0.25, steps=2), show=False)
    # Four of the sixteen groups, fifteen rows each.
    assert (report.pairs, report.held_out) == (180, 60)
    assert "Whole groups were held out" in (report.folder / "README.md").read_text()
    with pytest.raises(ConfigurationError, match="hold_out: validation is 0, so nothing is held out"):
        make_spec(hold_out="groups", validation=0)
    by_row = pretrain_contrastive(make_spec("rows", validation=0.25, steps=2), show=False)
    assert "Rows were held out, not groups" in (by_row.folder / "README.md").read_text()


@pytest.mark.parametrize("device", ["abacus", "meta:x"])
def test_a_device_that_is_not_there(make_spec: SpecMaker, device: str) -> None:
    with pytest.raises(TrainingError, match="cannot be used here"):
        pretrain_contrastive(make_spec(device=device), show=False)


def test_a_rate_that_breaks_the_network_stops_the_job(make_spec: SpecMaker) -> None:
    with pytest.raises(TrainingError, match=r"step \d+: the (loss|gradient) is"):
        pretrain_contrastive(make_spec(learning_rate=1e30, warmup=0.0), show=False)


def test_the_last_layer_can_be_fitted_anew(make_spec: SpecMaker) -> None:
    short = pretrain_contrastive(make_spec("short", steps=12, evaluate_every=12), show=False)
    fitted = pretrain_contrastive(
        make_spec("fitted", steps=12, evaluate_every=12, refit={"rows": 192, "strength": 10}), show=False
    )
    before, after = weights(short.folder), weights(fitted.folder)
    assert all(np.array_equal(value, after["model.safetensors"][k]) for k, value in before["model.safetensors"].items())
    assert fitted.metrics["image_to_text/recall@1"] > max(0.3, short.metrics["image_to_text/recall@1"])
