from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import ViTModel

import encoders
from connector.adaptation import JobSpec, load_spec, pretrain
from connector.adaptation.losses import info_nce
from connector.adaptation.pixels import views_job
from connector.adaptation.pixels.views_job import _Job as _ViewsJob
from connector.adaptation.publishing import require_encoder_job
from connector.adaptation.sampler import MixedBatches, split
from connector.adaptation.spec import parse_spec
from connector.errors import ConfigurationError, TrainingError
from encoders.towers.image import ImageTower
from tests.unit.adaptation.pixels.conftest import WAYS, stripes

JobMaker = Callable[..., JobSpec]
JOBS = ("masked_patches", "views")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of the tower, under the names of its parts."""
    found = {f"backbone.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    return found | {f"projection.{name}": value for name, value in load_file(folder / "projection.safetensors").items()}


def probe(folder: Path) -> float:
    """Share of new pictures whose stripes a linear map of the vectors tells; fitted on forty. Chance is a quarter."""
    rng = np.random.default_rng(7)
    ways = np.arange(440) % WAYS
    with encoders.load(folder, name="stripes", runtime="torch") as encoder:
        vectors = encoder.encode([stripes(int(way), rng) for way in ways])
    inputs = np.concatenate([vectors, np.ones((len(ways), 1), np.float32)], axis=1)
    ridge = inputs[:40].T @ inputs[:40] + 0.01 * np.eye(inputs.shape[1])
    weights = np.linalg.solve(ridge, inputs[:40].T @ np.eye(WAYS)[ways[:40]])
    return float(np.mean((inputs[40:] @ weights).argmax(axis=1) == ways[40:]))


@pytest.mark.parametrize(
    ("job", "metric", "least"), [("masked_patches", "explained", 0.1), ("views", "recall@5", 0.42)]
)
def test_pictures_alone_teach_what_they_show(make_pictures: JobMaker, job: str, metric: str, least: float) -> None:
    steps = {"steps": 130, "evaluate_every": 65, "checkpoint_every": 500}
    before = pretrain(make_pictures(job, "before", steps=1, learning_rate=1e-9), show=False)
    after: Any = pretrain(make_pictures(job, "after", **steps), show=False)
    assert after.metrics[metric] > least > before.metrics[metric]
    assert probe(after.folder) >= probe(before.folder) + 0.05
    assert sum(after.skipped.values()) == 1
    assert after.pictures + after.held_out == 320
    card = (after.folder / "README.md").read_text()
    assert "`pictures.parquet`" in card
    assert str(after.folder.parent) not in card


def test_the_kept_half_is_a_vit_that_transformers_loads(make_pictures: JobMaker) -> None:
    report = pretrain(make_pictures("masked_patches", steps=2, weights="float32"), show=False)
    vit: Any = ViTModel.from_pretrained(report.folder, add_pooling_layer=False).eval()
    pixels = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        states = vit(pixel_values=pixels).last_hidden_state
    tower = ImageTower.from_folder(report.folder)
    assert tower.pooling == "mean"
    wanted = torch.nn.functional.normalize(states[:, 1:].mean(dim=1), dim=-1)
    assert torch.allclose(tower(pixels), wanted, atol=1e-5)


def test_a_tower_that_learned_before_goes_on_as_it_is_told(make_pictures: JobMaker) -> None:
    first = pretrain(make_pictures("views", "first", steps=4, weights="float32"), show=False)
    told = {"kind": "pretrained", "source": str(first.folder), "keep_statistics": True, "freeze": ["projection.*"]}
    moved = pretrain(
        make_pictures("views", "moved", steps=3, weights="float32", tower={**told, "freeze": []}), show=False
    )
    kept = pretrain(make_pictures("views", "kept", steps=3, weights="float32", tower=told), show=False)
    small = make_pictures("views", "small", steps=3, weights="float32", tower={**told, "train_size": 20})
    assert _ViewsJob(small).medium.shape == (20, 20, 3)
    larger = pretrain(small, show=False)
    before = weights(first.folder)
    for report, frozen in ((moved, False), (kept, True), (larger, True)):
        after = weights(report.folder)
        for name, value in before.items():
            still = "running" in name or "batches_tracked" in name or (frozen and name.startswith("projection."))
            assert bool(torch.equal(value, after[name])) == (still or not value.any()), name
        with encoders.load(report.folder, name="stripes") as encoder:
            assert encoder.contract.max_input == 16
    assert not torch.equal(
        weights(kept.folder)["backbone.embedder.embedder.convolution.weight"],
        weights(larger.folder)["backbone.embedder.embedder.convolution.weight"],
    )


def test_a_tower_keeps_its_own_dimension_unless_told_another(make_pictures: JobMaker) -> None:
    first = pretrain(make_pictures("views", "first", steps=2, weights="float32"), show=False)
    told = {"kind": "pretrained", "source": str(first.folder), "freeze": ["projection.*"]}
    kept = pretrain(make_pictures("views", "kept", steps=2, weights="float32", tower=told, dimension=None), show=False)
    before, after = weights(first.folder), weights(kept.folder)
    assert after["projection.weight"].shape[0] == 16
    assert torch.equal(before["projection.weight"], after["projection.weight"])
    # Another dimension, or a tower from nothing, has a last layer of its own.
    for changes, wanted in (({"tower": told, "dimension": 24}, 24), ({"dimension": None}, 128)):
        assert _ViewsJob(make_pictures("views", **changes)).tower.dimension == wanted


def test_a_picture_that_comes_twice_is_no_negative(make_pictures: JobMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    twice: list[int] = []

    def watched(left: torch.Tensor, right: torch.Tensor, scale: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
        twice.append(int(same.sum()) - len(same))
        return info_nce(left, right, scale, same)

    monkeypatch.setattr(views_job, "info_nce", watched)
    pretrain(make_pictures("views", steps=2, batch_size=250), show=False)
    # Of 256 pictures, six are left of the first lap; the others are of the second, in an order of its own.
    rows = MixedBatches([split(320, 0.2, 0)[0]], [None], 250, 0).rows_of(1)
    assert twice == [0, 2 * (250 - len(set(rows.tolist())))]
    assert twice[1] > 0


def test_its_folder_counts_from_the_spec(make_pictures: JobMaker, tmp_path: Path) -> None:
    (tmp_path / "earlier").mkdir()
    spec: Any = make_pictures("views", tower={"kind": "pretrained", "source": "earlier"})
    assert spec.located(tmp_path).tower.source == str(tmp_path / "earlier")
    assert (
        make_pictures("views", tower={"kind": "pretrained", "source": "image"}).located(tmp_path).tower.source
        == "image"
    )


@pytest.mark.parametrize("job", JOBS)
def test_resumed_is_undisturbed(make_pictures: JobMaker, job: str) -> None:
    changes = {"steps": 6, "checkpoint_every": 2, "evaluate_every": 3, "weights": "float32"}
    straight = pretrain(make_pictures(job, "straight", **changes), show=False)
    broken = make_pictures(job, "broken", **changes)
    pretrain(broken, until=3, show=False)
    resumed = pretrain(broken, resume=True, show=False)
    first, second = (load_file(report.folder / "model.safetensors") for report in (straight, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = load_file(pretrain(make_pictures(job, "other", **changes, seed=1), show=False).folder / "model.safetensors")
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert list((Path(broken.out) / "tensorboard").glob("events.*"))
    require_encoder_job(job)


@pytest.mark.parametrize(
    ("job", "changes", "reason"),
    [
        ("masked_patches", {"mask": 0.3}, "mask: unknown field"),
        ("masked_patches", {"patch": 5}, "spec: .*image_size 16 is not a multiple of patch 5"),
        ("masked_patches", {"hidden": 30}, "spec: .*hidden 30 is not a multiple of heads 2 and of 4"),
        ("masked_patches", {"masked": 0.99}, "spec: .*leaves none, or all of them"),
        ("views", {"pictures": []}, "pictures: "),
        ("masked_patches", {"validation": 0.6}, "validation: .*less than or equal to 0.5"),
        ("views", {"pictures": [{"path": "x", "text": "{a}"}]}, "pictures.0.text: unknown field"),
    ],
)
def test_a_bad_spec_is_one_clear_line(make_pictures: JobMaker, job: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^spec: {reason}") as caught:
        make_pictures(job, **changes)
    assert "\n" not in str(caught.value)


def test_pictures_that_cannot_be_used(make_pictures: JobMaker, striped: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": pa.array([b"no picture"] * 5, pa.binary())}), tmp_path / "none.parquet")
    for source, reason in (
        ({"path": str(tmp_path / "none.parquet")}, r"0 usable pictures are too few .*\(5 rows\)"),
        ({"path": str(tmp_path / "gone.parquet")}, "no such file"),
        ({"path": str(striped), "image": "photo"}, "no column 'photo'; it has image, way"),
        ({"path": __file__}, "unknown format"),
    ):
        with pytest.raises(TrainingError, match=reason) as caught:
            pretrain(make_pictures("views", pictures=[source]), show=False)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("job", JOBS)
def test_paths_count_from_the_specs_folder(tmp_path: Path, job: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"job: {job}\nout: out\nsteps: 5\npictures: [{{path: p.parquet}}]\n")
    spec: Any = load_spec(file)
    assert [spec.out, spec.pictures[0].path] == [str(tmp_path / name) for name in ("out", "p.parquet")]
    assert parse_spec(json.loads(spec.model_dump_json())) == spec


def test_colours_are_changed_where_views_are_made_and_nowhere_else(make_pictures: JobMaker) -> None:
    def colours(job: str, **changes: Any) -> list[float]:
        spec: Any = make_pictures(job, **changes)
        return [spec.augmentation.saturation, spec.augmentation.hue, spec.augmentation.grey]

    assert colours("views", augmentation=None) == colours("views", augmentation={"crop": 0.6}) == [0.4, 36, 0.2]
    assert colours("views", augmentation={"hue": 0}) == [0.4, 0, 0.2]
    assert colours("masked_patches", augmentation=None) == [0, 0, 0]


def test_pictures_of_a_folder_of_parts_by_their_paths(make_pictures: JobMaker, striped: Path, tmp_path: Path) -> None:
    table = pq.read_table(striped).slice(0, 40)
    (tmp_path / "shop" / "files").mkdir(parents=True)
    names: list[str | None] = [f"files/{row}.png" for row in range(len(table))]
    for name, content in zip(names, table["image"].to_pylist(), strict=True):
        (tmp_path / "shop" / str(name)).write_bytes(content)
    names[7], names[30] = "files/gone.png", None
    for part, rows in enumerate((names[:25], names[25:])):
        pq.write_table(pa.table({"photo": rows}), tmp_path / "shop" / f"part-{part}.parquet")
    for job in JOBS:
        source = {"path": str(tmp_path / "shop"), "image": "photo"}
        report: Any = pretrain(make_pictures(job, job, pictures=[source], steps=1, batch_size=16), show=False)
        assert report.pictures + report.held_out == 38
        assert report.skipped == {"no such file": 1, "nothing there": 1}
