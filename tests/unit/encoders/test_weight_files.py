"""Towers state the hash of their weights, and other weights in their folders are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from encoders import EncoderLoadError
from encoders.source import DEFAULTS, resolve
from encoders.towers.audio import AudioTower
from encoders.towers.image import ImageTower
from encoders.towers.video import VideoTower
from encoders.weight_files import WEIGHTS_HASH, require_weights
from tests.unit.encoders import tiny_models


def image(folder: Path) -> ImageTower:
    return ImageTower.from_folder(tiny_models.vit(folder))


TOWERS: dict[str, Callable[[Path], Any]] = {
    "image": image,
    "audio": lambda folder: AudioTower.small(20, widths=(8, 16), depths=(1, 1)),
    "video": lambda folder: VideoTower.of_frames(image(folder), 2),
    "videomae": lambda folder: VideoTower.from_folder(tiny_models.video(folder)),
    "projection": lambda folder: AudioTower.small(12, widths=(8, 16), depths=(1, 1)),
}


@pytest.mark.parametrize("kind", TOWERS)
def test_weights_of_another_tower_are_refused(kind: str, tmp_path: Path) -> None:
    tower = TOWERS[kind](tmp_path / "source")
    folder = tower.save(tmp_path / "tower")
    require_weights(folder)
    type(tower).from_folder(folder)
    for parameter in tower.parameters():
        parameter.data.mul_(1.5)
    other = tower.save(tmp_path / "other")
    name = "projection.safetensors" if kind == "projection" else "model.safetensors"
    shutil.copyfile(other / name, folder / name)
    with pytest.raises(EncoderLoadError, match=r"weights are not those of tower\.json .* copy the folder again, whole"):
        type(tower).from_folder(folder)
    # A record that states no hash was written by hand, or before hashes were stated.
    record = json.loads((folder / "tower.json").read_text())
    assert record.pop(WEIGHTS_HASH)
    (folder / "tower.json").write_text(json.dumps(record))
    type(tower).from_folder(folder)


@pytest.mark.parametrize("name", sorted(set(DEFAULTS) - {"text"}))
def test_shipped_towers_state_theirs(name: str) -> None:
    require_weights(resolve(name).path)
