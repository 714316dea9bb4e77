from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import encoders
from connector.testing import EncoderSuite
from connector.testing.encoder_suite import assert_same_direction
from encoders import Encoder
from encoders.errors import EncoderLoadError
from encoders.fused import FusedPreprocessing
from encoders.towers.fused import FusedTower, masked
from encoders.wire import pack
from tests.media_files import film, sound
from tests.unit.encoders import tiny_models


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.fused(tmp_path_factory.mktemp("fused") / "tower")


@pytest.fixture(scope="module")
def folder(tower: Path) -> Path:
    encoders.export(tower, tower.parent / "encoder", name="item")
    return tower.parent / "encoder"


class TestFusedEncoder(EncoderSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, folder: Path) -> Iterator[Encoder]:
        with encoders.load(folder) as encoder:
            yield encoder

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls, picture: Callable[..., bytes]) -> list[Any]:
        return [
            {"text": "red dress", "image": picture(seed=1)},
            {"text": "a green apple, and a chair", "image": None},
            {"image": picture(seed=2), "text": ""},
            pack({"text": "red chair", "image": picture("JPEG", seed=3)}),
        ]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls, picture: Callable[..., bytes]) -> list[Any]:
        return [
            None,
            {},
            {"text": None, "image": b""},
            {"text": "red dress", "image": b"no picture"},
            {"text": " \n", "image": picture()},
            {"text": "red dress", "smell": b"rose"},
            {"text": 3.5},
            {"image": [1, 2]},
            "red dress",
            b"no item",
        ]

    def test_a_part_says_what_is_wrong_with_it(self, encoder: Encoder) -> None:
        rows = [{"text": "x", "image": b"junk"}, {"smell": b"x"}, {"text": None}, {"text": b"\xff"}]
        errors = encoder.encode_tolerant(rows).errors
        assert errors[0].startswith("image: ")
        assert errors[1] == "a part 'smell' is not known; this encoder takes text, image"
        assert errors[2] == "nothing of the item is there (of text, image)"
        assert errors[3] == "text: text is not UTF-8 (byte 0)"

    def test_every_subset_has_a_vector_of_its_own(self, encoder: Encoder, picture: Callable[..., bytes]) -> None:
        whole = {"text": "red dress", "image": picture(seed=4)}
        vectors = encoder.encode([whole, {"text": whole["text"]}, {"image": whole["image"]}])
        cosine = vectors @ vectors.T
        assert (cosine[np.triu_indices(3, 1)] < 0.999).all()

    def test_its_contract(self, encoder: Encoder) -> None:
        contract = encoder.contract
        assert (contract.modality, contract.pooling, contract.max_input) == ("fused", "gated", 2)
        assert contract.normalized


@pytest.mark.parametrize("head", ["gated", "concatenation"])
def test_the_graph_agrees_with_the_tower(tmp_path: Path, head: str, picture: Callable[..., bytes]) -> None:
    source = tiny_models.fused(tmp_path / "tower", head)
    rows = [{"text": "red"}, {"image": picture()}, {"text": "dress", "image": picture(seed=5)}]
    with (
        encoders.load(source, name="item", runtime="onnx") as onnx,
        encoders.load(source, name="item", runtime="torch") as on_torch,
    ):
        assert onnx.contract == on_torch.contract
        assert_same_direction(onnx.encode(rows), on_torch.encode(rows))


@pytest.mark.parametrize("head", ["gated", "concatenation"])
def test_what_stands_in_an_absent_place_does_not_count(tmp_path: Path, head: str) -> None:
    tower = FusedTower.from_folder(tiny_models.fused(tmp_path / "tower", head))
    vectors = [torch.randn(2, size, generator=torch.Generator().manual_seed(1)) for size in tower.sizes]
    other = [vectors[0], vectors[1] * -3]
    present = torch.tensor([[True, False], [True, False]])
    torch.testing.assert_close(tower(vectors, present), tower(other, present))


def test_gates_are_over_what_is_there(tower: Path) -> None:
    loaded = FusedTower.from_folder(tower)
    vectors = [torch.randn(3, size, generator=torch.Generator().manual_seed(1)) for size in loaded.sizes]
    present = torch.tensor([[True, True], [True, False], [False, True]])
    weights = loaded.head.weights(masked(vectors, present), present)
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    assert (weights[~present] == 0).all()
    assert (weights[0] > 0.01).all()


@pytest.mark.parametrize("head", ["gated", "concatenation"])
def test_members_of_one_length_start_as_their_mean(head: Any) -> None:
    contracts = [encoders.external_contract(kind, version=1, dimension=8, modality=kind) for kind in ("text", "image")]
    tower = FusedTower(contracts, head=head, dimension=8).eval()
    vectors = [torch.randn(2, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    present = torch.tensor([[True, True], [False, True]])
    unit = [torch.nn.functional.normalize(vector, dim=1) for vector in vectors]
    wanted = torch.stack([(unit[0][0] + unit[1][0]) / 2, unit[1][1]])
    torch.testing.assert_close(tower(vectors, present), torch.nn.functional.normalize(wanted, dim=1))


def test_a_member_is_found_only_under_its_own_contract(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "models" / "item" / "1"
    shutil.copytree(folder, moved)
    for modality in ("text", "image"):
        target = tmp_path / "models" / f"tiny_{modality}" / "1"
        target.parent.mkdir()
        (moved / "members" / modality).rename(target)
    encoders.load(moved).close()
    record = tmp_path / "models" / "tiny_image" / "1" / "encoder.json"
    record.write_text(record.read_text().replace('"pooling": "cls"', '"pooling": "mean"'))
    with pytest.raises(EncoderLoadError, match=r"image encoder tiny_image/1 \(.*\) is neither in members/image"):
        encoders.load(moved)


def test_the_hash_of_its_weights_is_one_of_its_members_too(tower: Path, tmp_path: Path) -> None:
    loaded = FusedTower.from_folder(tower)
    contracts = [member.renamed(f"{member.name}_b", 2) for member in loaded.preprocessing.members]
    other = FusedTower(contracts, dimension=24, folders=loaded.folders)
    other.load_state_dict(loaded.state_dict())
    other.save(tmp_path / "other")
    one = encoders.export(tower, tmp_path / "a", name="item")
    two = encoders.export(tmp_path / "other", tmp_path / "b", name="item")
    assert one.weights_hash != two.weights_hash
    assert one.preprocessing_hash != two.preprocessing_hash


def test_members_that_make_no_item() -> None:
    text = encoders.external_contract("a", version=1, dimension=8, modality="text")
    with pytest.raises(EncoderLoadError, match="members of different modalities"):
        FusedPreprocessing((text, text))
    with pytest.raises(EncoderLoadError, match="not none"):
        FusedPreprocessing(())
    with pytest.raises(EncoderLoadError, match="lacks the contracts"):
        FusedPreprocessing.from_dict({})


def test_options_are_by_modality(folder: Path, picture: Callable[..., bytes]) -> None:
    with encoders.load(folder, image={"max_bytes": 10}) as encoder:
        assert "image: " in encoder.encode_tolerant([{"image": picture()}]).errors[0]
    with pytest.raises(EncoderLoadError, match="no option 'max_bytes'; give limits by modality: text, image"):
        encoders.load(folder, max_bytes=10)


def test_the_shipped_one_is_the_mean_of_what_an_item_has(picture: Callable[..., bytes]) -> None:
    parts = {"text": "red dress", "image": picture(seed=1), "audio": sound(seconds=0.5), "video": film(frames=6)}
    alone = []
    for modality, part in parts.items():
        with encoders.load(modality) as member:
            alone.append(member.encode([part])[0])
    units = np.stack(alone) / np.linalg.norm(alone, axis=1, keepdims=True)
    with encoders.load("fused") as item:
        assert item.contract == encoders.default_contract("fused")
        found = item.encode_tolerant([parts, {"text": "red dress"}, {"video": film(), "audio": film()}])
    assert found.errors == {2: "audio: holds no sound"}
    assert_same_direction(found.vectors[:2], np.stack([units.mean(axis=0), units[0]]))
