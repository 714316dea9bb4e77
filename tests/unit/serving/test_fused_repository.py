"""A fused encoder in a model repository: whole with its members, and refused before a half of it is written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from connector.errors import ContractMismatchError
from connector.serving import publish, published
from connector.serving.repository import is_complete
from tests.unit.encoders import tiny_models


@pytest.fixture(autouse=True)
def _private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_lost_member_comes_back(tmp_path: Path) -> None:
    models = tmp_path / "models"
    contract = publish(models, "fused", name="fused")
    assert is_complete(models, contract)
    shutil.rmtree(models / "image")
    assert not is_complete(models, contract)
    assert contract not in published(models)
    publish(models, "fused", name="fused")
    assert is_complete(models, contract)
    (models / "text" / "config.pbtxt").unlink()
    assert not is_complete(models, contract)


def test_a_member_that_an_older_version_described_is_described_again(tmp_path: Path) -> None:
    """It lacks an output that the ensemble takes, which would not load with it."""
    models = tmp_path / "models"
    contract = publish(models, "fused", name="fused")
    publish(models, "image", name="image", instances=2, threads=1, limits={"max_pixels": 1_000_000})
    config = models / "image" / "config.pbtxt"
    text = config.read_text()
    older = re.sub(r'output \{\s+name: "CHECK"[^}]*\}\n', "", text)
    assert older != text
    config.write_text(older)
    assert is_complete(models, contract)
    publish(models, "fused", name="fused")
    assert config.read_text() == text


def test_members_of_other_versions_are_described_again_too(tmp_path: Path) -> None:
    models = tmp_path / "models"
    publish(models, tiny_models.fused(tmp_path / "one" / "tower"), name="item", version=1)
    config = models / "tiny_text" / "config.pbtxt"
    text = config.read_text()
    config.write_text(re.sub(r'output \{\s+name: "CHECK"[^}]*\}\n', "", text))
    publish(models, "fused", name="item", version=2)
    assert config.read_text() == text


def test_a_member_whose_place_is_taken_leaves_nothing_behind(tmp_path: Path) -> None:
    models = tmp_path / "models"
    publish(models, tiny_models.vit(tmp_path / "vit"), name="image")
    with pytest.raises(
        ContractMismatchError, match=r"image/1 holds image/1 .* publish that other encoder under a name of"
    ):
        publish(models, "fused", name="fused")
    assert [path.name for path in models.iterdir()] == ["image"]
