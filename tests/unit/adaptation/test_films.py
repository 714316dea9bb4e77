"""The contrastive job over films."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import encoders
from connector.adaptation import pretrain_contrastive
from connector.adaptation.mediums import FilmMedium
from connector.adaptation.spec import Augmentation, parse_spec
from connector.errors import ConfigurationError
from encoders.towers.image import ImageTower
from encoders.towers.video import VideoTower
from examples.demo.shop import captioned_drawings

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}
TOWER = {"kind": "new", "image_size": 24, "hidden_sizes": [8, 16], "depths": [1, 1]}


def coloured(colour: str, seed: int) -> bytes:
    """Eight frames of 32 × 32 pixels: a square of the colour moves over noise."""
    import av

    random, stream = np.random.default_rng(seed), io.BytesIO()
    with av.open(stream, mode="w", format="mp4") as container:
        video = container.add_stream("libx264", rate=8)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        for frame in range(8):
            picture = random.integers(90, 170, (32, 32, 3), dtype=np.uint8)
            picture[4:28, frame : frame + 24] = COLOURS[colour]
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
    return stream.getvalue()


@pytest.fixture(scope="module")
def films_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 films of three colours, one that is cut and one that is none."""
    path = tmp_path_factory.mktemp("films") / "films.parquet"
    names = list(COLOURS) * 20
    films = [coloured(name, seed) for seed, name in enumerate(names)]
    files = [*films, films[0][:300], b"no film"]
    pq.write_table(pa.table({"name": [*names, "red", "red"], "film": pa.array(files, pa.binary())}), path)
    return path


def spec_of(path: Path, out: Path, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "out": str(out),
        "pairs": [{"path": str(path), "video": "film", "text": ["a {name} square", "{name}"], "group": ["name"]}],
        "tower": TOWER,
        "batch_size": 16,
        "steps": 24,
        "learning_rate": 0.005,
        "validation": 0.2,
        "evaluate_every": 12,
        "device": "cpu",
    }
    return parse_spec({**values, **changes})


def test_a_job_of_seconds_learns_and_its_encoder_loads(films_file: Path, tmp_path: Path) -> None:
    report = pretrain_contrastive(spec_of(films_file, tmp_path / "out"), show=False)
    # Three meanings: chance is a third.
    assert report.metrics["video_to_text/recall@1"] > 0.8
    assert (report.pairs, report.held_out, sum(report.skipped.values())) == (48, 12, 2)
    assert all(reason.startswith("film: ") for reason in report.skipped)
    card = (report.folder / "README.md").read_text()
    assert "video tower" in card
    assert "pairs of film and words" in card
    with encoders.load(report.folder, name="squares") as films, encoders.load("text") as text:
        assert films.contract.modality == "video"
        assert films.contract.shares_space_with(text.contract)
        seen = films.encode([coloured(name, 1000 + seed) for seed, name in enumerate(COLOURS)])
        words = text.encode([f"a {name} square" for name in COLOURS])
    assert np.argmax(seen @ words.T, axis=1).tolist() == [0, 1, 2]


def test_a_tower_of_pictures_sees_the_frames(films_file: Path, tmp_path: Path) -> None:
    """Frozen parts are named as in the tower of pictures."""
    pictures = tmp_path / "pictures.parquet"
    drawings = captioned_drawings(0, 40)
    pq.write_table(drawings, pictures)
    pairs = [{"path": str(pictures), "text": ["{caption}"]}]
    first = pretrain_contrastive(spec_of(films_file, tmp_path / "first", pairs=pairs, steps=1), show=False)
    told = {"kind": "pretrained", "source": str(first.folder), "freeze": ["projection.*"], "train_size": 16}
    further = pretrain_contrastive(spec_of(films_file, tmp_path / "further", tower=told, steps=2), show=False)
    before, after = ImageTower.from_folder(first.folder), VideoTower.from_folder(further.folder)
    assert after.kind == "frames"
    assert torch.equal(before.projection.weight, after.backbone.projection.weight)
    changed = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.backbone.parameters(), strict=True)]
    assert any(changed)
    with encoders.load(further.folder, name="frames") as films:
        assert films.contract.modality == "video"


def test_resumed_is_undisturbed(films_file: Path, tmp_path: Path) -> None:
    changes = {"steps": 6, "checkpoint_every": 2, "weights": "float32"}
    whole = pretrain_contrastive(spec_of(films_file, tmp_path / "whole", **changes), show=False)
    spec = spec_of(films_file, tmp_path / "cut", **changes)
    pretrain_contrastive(spec, show=False, until=4)
    cut = pretrain_contrastive(spec, show=False, resume=True)
    for one, other in zip(*(VideoTower.from_folder(each.folder).parameters() for each in (whole, cut)), strict=True):
        assert torch.equal(one, other)


def test_all_frames_of_a_film_are_changed_alike() -> None:
    tower = VideoTower.of_frames(ImageTower.from_folder(encoders.source.resolve("image").path), 3)
    medium = FilmMedium(tower.preprocessing, Augmentation(crop=0.3, turn=30, erase=1.0), torch.device("cpu"), 32)
    one = np.random.default_rng(0).integers(0, 255, (2, 1, 32, 32, 3), dtype=np.uint8)
    (still,) = medium.inputs(np.repeat(one, 3, axis=1), None)
    assert still.shape == (2, 3, 3, 160, 160)
    (changed,) = medium.inputs(np.repeat(one, 3, axis=1), torch.Generator().manual_seed(0))
    assert changed.shape == (2, 3, 3, 32, 32)
    assert torch.allclose(changed[:, 0], changed[:, 1], atol=1e-5)
    assert torch.allclose(changed[:, 0], changed[:, 2], atol=1e-5)
    assert not torch.allclose(changed[0, 0], changed[1, 0], atol=0.1)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tower": {"kind": "new_audio"}}, "pairs are of video; tower new_audio takes audio"),
        ({"pairs": [{"path": "x", "video": "film", "audio": "sound", "text": ["{name}"]}]}, "sounds or films"),
        ({"pairs": [{"path": "x", "video": "film", "image": "i", "text": ["{name}"]}]}, "holds no pictures"),
        ({"refit": {}}, "refit is for pictures"),
    ],
)
def test_specs_that_do_not_fit_together(
    films_file: Path, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        spec_of(films_file, tmp_path, **changes)
