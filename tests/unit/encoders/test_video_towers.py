"""Video towers held to transformers' own vectors, and their graphs to the towers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import encoders
from encoders import EncoderLoadError
from encoders.contract import find_aligned
from encoders.exporting import contract_of, open_tower
from encoders.media.preprocessing import ImagePreprocessing
from encoders.media.video import VideoPreprocessing
from encoders.source import modality_of, resolve
from encoders.towers.folder import quiet
from encoders.towers.image import ImageTower
from encoders.towers.video import VideoTower
from tests.media_files import film
from tests.unit.encoders import tiny_models

KINDS = {"videomae": "videomae", "xclip": "xclip", "clip": "frames"}
FILMS = [film(frames=9), film("webm", frames=30, seed=2), film("avi", frames=4, seed=3)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("video")
    return {name: tiny_models.video(root / name, name) for name in KINDS}


def pixels(rows: int = 2, frames: int = 4, size: int = 32) -> torch.Tensor:
    return torch.randn(rows, frames, 3, size, size, generator=torch.Generator().manual_seed(1))


def agree(first: torch.Tensor, second: torch.Tensor) -> None:
    assert float(torch.nn.functional.cosine_similarity(first, second).detach().min()) >= 0.9999


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_architecture_is_loaded_saved_exported_and_served(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    tower = VideoTower.from_folder(folders[name])
    assert tower.kind == KINDS[name]
    batch = pixels(frames=tower.preprocessing.frames)
    with torch.no_grad():
        wanted = tower(batch)
        tower.save(tmp_path / "tower", card="# A tower\n")
        again = VideoTower.from_folder(tmp_path / "tower")
        agree(again(batch), wanted)
    assert (again.preprocessing, again.aligned_with, again.kind) == (
        tower.preprocessing,
        tower.aligned_with,
        tower.kind,
    )
    assert modality_of(tmp_path / "tower") == "video"
    contract = encoders.export(tmp_path / "tower", tmp_path / "encoder", name="tiny")
    assert (contract.modality, contract.max_input) == ("video", tower.preprocessing.frames)
    with (
        encoders.load(tmp_path / "encoder") as served,
        encoders.load(folders[name], modality="video", runtime="torch", isolate=False) as reference,
    ):
        found, vectors = served.encode(FILMS), reference.encode(FILMS)
    assert ((found * vectors).sum(axis=1) >= 0.9999).all()
    assert len(np.unique(found.round(5), axis=0)) == len(FILMS)


def test_videomae_vectors_are_the_mean_of_its_states(folders: dict[str, Path]) -> None:
    with quiet():
        model = transformers.VideoMAEModel.from_pretrained(folders["videomae"]).eval()
    wanted = model(pixel_values=pixels()).last_hidden_state.mean(dim=1)
    agree(VideoTower.from_folder(folders["videomae"])(pixels()), wanted)


def test_xclip_vectors_are_its_video_features(folders: dict[str, Path]) -> None:
    with quiet():
        model = transformers.XCLIPModel.from_pretrained(folders["xclip"]).eval()
    tower = VideoTower.from_folder(folders["xclip"])
    agree(tower(pixels()), model.get_video_features(pixels()).pooler_output)
    assert tower.aligned_with


def test_pooled_frames_stay_in_the_space_of_the_image_tower(folders: dict[str, Path]) -> None:
    image = ImageTower.from_folder(folders["clip"])
    image.aligned_with = ("0123456789abcdef",)
    tower = VideoTower.of_frames(image, frames=4)
    assert tower.aligned_with == image.aligned_with
    batch = pixels()
    wanted = torch.nn.functional.normalize(
        torch.stack([image(batch[:, frame]) for frame in range(4)], dim=1).mean(dim=1), dim=-1
    )
    agree(tower(batch), wanted)


def test_films_of_a_picture_model_can_be_asked_by_pictures(tmp_path: Path, folders: dict[str, Path]) -> None:
    vit = tiny_models.vit(tmp_path / "vit")
    image, film, stranger = (
        contract_of(source, open_tower(source), name, 1)
        for name, source in (
            ("pictures", resolve(vit, "image")),
            ("films", resolve(vit, "video")),
            ("strange", resolve(folders["clip"], "image")),
        )
    )
    assert find_aligned(film, [stranger, image], "image") == image
    assert find_aligned(film, [stranger], "image") is None
    videomae = resolve(folders["videomae"], "video")
    assert not contract_of(videomae, open_tower(videomae), "mae", 1).shares_space_with(film)


def test_served_towers_scale_and_normalise_inside(folders: dict[str, Path]) -> None:
    tower = VideoTower.from_folder(folders["videomae"])
    served = tower.served()
    batch = served.sample(2, 0)["frames"]
    picture = tower.preprocessing.picture
    mean, std = (torch.tensor(values).view(1, 1, 3, 1, 1) for values in (picture.mean, picture.std))
    agree(served.module(batch), tower((batch.permute(0, 1, 4, 2, 3).float() * picture.scale - mean) / std))


def test_a_projection_is_kept(folders: dict[str, Path], tmp_path: Path) -> None:
    backbone = VideoTower.from_folder(folders["videomae"]).backbone
    preprocessing = VideoPreprocessing(4, ImagePreprocessing(32))
    tower = VideoTower(
        backbone, preprocessing, kind="videomae", projection=torch.nn.Linear(32, 5), normalize=False,
        aligned_with=("ab",),
    )  # fmt: skip
    tower.save(tmp_path / "tower")
    again = VideoTower.from_folder(tmp_path / "tower")
    assert (again.dimension, again.normalize, again.aligned_with) == (5, False, ("ab",))
    torch.testing.assert_close(again(pixels()), tower(pixels()))


def test_models_that_do_not_see_are_refused(bert_folder: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(EncoderLoadError):
        VideoTower.from_folder(bert_folder)
    VideoTower.from_folder(folders["clip"]).save(tmp_path / "tower")
    record = json.loads((tmp_path / "tower" / "tower.json").read_text())
    for frames in ("many", 0):
        (tmp_path / "tower" / "tower.json").write_text(json.dumps({**record, "frames": frames}))
        with pytest.raises(EncoderLoadError, match="frames"):
            VideoTower.from_folder(tmp_path / "tower")
