from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from encoders import EncoderLoadError
from encoders.media.preprocessing import ImagePreprocessing
from encoders.towers.folder import quiet
from encoders.towers.image import ImageTower
from encoders.towers.text import TextTower
from tests.unit.encoders import tiny_models

POOLINGS = {
    "vit": "cls",
    "dinov2": "cls",
    "dinov2_resized": "cls",
    "dinov2_registers": "cls",
    "vit_classifier": "cls",
    "resnet": "pooler",
    "clip_vision": "pooler",
    "clip_projection": "projection",
    "siglip_vision": "pooler",
    "convnext": "pooler",
    "swin": "pooler",
}


def pixels(rows: int = 3, size: int = 32) -> torch.Tensor:
    return torch.randn(rows, 3, size, size, generator=torch.Generator().manual_seed(1))


def agree(first: torch.Tensor, second: torch.Tensor, least: float = 0.9999) -> None:
    cosine = torch.nn.functional.cosine_similarity(first, second)
    assert float(cosine.detach().min()) >= least


@pytest.mark.parametrize("name", sorted(POOLINGS))
def test_every_architecture_is_loaded_saved_and_loaded_again(name: str, tmp_path: Path) -> None:
    folder = tiny_models.vision(tmp_path / "source", name)
    tower = ImageTower.from_folder(folder)
    assert (tower.pooling, tower.image_size) == (POOLINGS[name], 32)
    vectors = tower(pixels())
    assert vectors.shape == (3, tower.dimension)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    tower.save(tmp_path / "tower", dtype="float16", card="# A tower\n")
    again = ImageTower.from_folder(tmp_path / "tower")
    assert again.backbone.dtype == torch.float32
    agree(again(pixels()), vectors)
    assert (tmp_path / "tower" / "README.md").read_text() == "# A tower\n"
    half, whole = (sum(f.stat().st_size for f in p.glob("*.safetensors")) for p in (tmp_path / "tower", folder))
    assert half < 0.75 * whole


def test_resnet_needs_to_be_told_its_size(tmp_path: Path) -> None:
    folder = tiny_models.save_model(tmp_path / "resnet", tiny_models.vision_models()["resnet"]())
    with pytest.raises(EncoderLoadError, match="image_size"):
        ImageTower.from_folder(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"shortest_edge": 32}}))
    assert ImageTower.from_folder(folder)(pixels()).shape == (3, 16)


def test_vit_vectors_are_the_models_own_first_token(vit_folder: Path) -> None:
    with quiet():
        model = transformers.ViTModel.from_pretrained(vit_folder, add_pooling_layer=False).eval()
    wanted = model(pixel_values=pixels()).last_hidden_state[:, 0]
    agree(ImageTower.from_folder(vit_folder)(pixels()), wanted)


def test_clip_vectors_are_the_models_own_image_and_text_features(clip_folder: Path) -> None:
    with quiet():
        model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    agree(ImageTower.from_folder(clip_folder)(pixels()), model.get_image_features(pixels()).pooler_output)
    tower = TextTower.from_folder(clip_folder)
    ids = torch.tensor([[2, 9, 12, 3, 0], [2, 8, 9, 10, 3]])
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    agree(tower(ids, mask), model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output)
    assert tower.aligned_with == ImageTower.from_folder(clip_folder).aligned_with != ()


def test_siglip_texts_are_padded_to_full_length(siglip_folder: Path) -> None:
    tower = TextTower.from_folder(siglip_folder)
    assert tower.preprocessing.padding == "max_tokens"
    with quiet():
        model = transformers.SiglipModel.from_pretrained(siglip_folder).eval()
    ids = torch.tensor([[2, 9, 12, 3] + [0] * 12])
    agree(tower(ids, torch.ones_like(ids)), model.get_text_features(input_ids=ids).pooler_output)


def test_mean_pooling_of_patches_leaves_the_first_token_out(vit_folder: Path) -> None:
    tower = ImageTower.from_folder(vit_folder)
    states = tower.backbone(pixel_values=pixels()).last_hidden_state
    tower.pooling = "mean"
    agree(tower(pixels()), states[:, 1:].mean(dim=1))


def test_a_projection_and_a_stated_pooling_are_kept(vit_folder: Path, tmp_path: Path) -> None:
    backbone = ImageTower.from_folder(vit_folder).backbone
    projection = torch.nn.Linear(32, 5)
    tower = ImageTower(
        backbone, ImagePreprocessing(32), pooling="mean", projection=projection, normalize=False, aligned_with=("ab",)
    )
    assert tower.save(tmp_path / "tower") == tmp_path / "tower"
    again = ImageTower.from_folder(tmp_path / "tower")
    assert (again.pooling, again.normalize, again.aligned_with, again.dimension) == ("mean", False, ("ab",), 5)
    torch.testing.assert_close(again(pixels()), tower(pixels()))


def test_saving_replaces_a_folder_whole(vit_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "tower"
    target.mkdir()
    (target / "stale.txt").write_text("old")
    ImageTower.from_folder(vit_folder).save(target)
    assert not (target / "stale.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["tower"]


def test_served_towers_scale_and_normalise_inside(vit_folder: Path) -> None:
    tower = ImageTower.from_folder(vit_folder)
    served = tower.served()
    batch = served.sample(2, 0)["pixels"]
    values = (batch.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    agree(served.module(batch), tower(values))


@pytest.mark.parametrize("tower", [ImageTower, TextTower])
def test_pickled_weights_are_refused(tower: Any, vit_folder: Path, bert_folder: Path, tmp_path: Path) -> None:
    source = vit_folder if tower is ImageTower else bert_folder
    folder = Path(shutil.copytree(source, tmp_path / "pickled"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderLoadError, match=r"no model\.safetensors"):
        tower.from_folder(folder)
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(EncoderLoadError, match="pickled"):
        tower.from_folder(folder)


def test_weights_that_are_missing_damaged_or_of_another_shape_are_refused(vit_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(vit_folder, tmp_path / "vit"))
    save_file({"layernorm.weight": torch.ones(32)}, folder / "model.safetensors")
    with pytest.raises(EncoderLoadError, match="lack"):
        ImageTower.from_folder(folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(EncoderLoadError):
        ImageTower.from_folder(folder)
    save_file({"layernorm.weight": torch.ones(7)}, folder / "model.safetensors")
    with pytest.raises(EncoderLoadError):
        ImageTower.from_folder(folder)


def test_models_of_the_other_modality_are_refused(vit_folder: Path, bert_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderLoadError, match="not pictures"):
        ImageTower.from_folder(bert_folder)
    both = Path(shutil.copytree(vit_folder, tmp_path / "vit"))
    tiny_models.save_tokenizer(both)
    with pytest.raises(EncoderLoadError, match="no text encoder"):
        TextTower.from_folder(both)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "[]",
        "{}",
        '{"model_type": "nonsense"}',
        '{"model_type": "vit", "hidden_size": "wide"}',
        '{"model_type": "vit", "auto_map": {"AutoConfig": "evil.Config"}, "architectures": ["Evil"]}',
    ],
)
def test_a_config_that_is_not_understood_is_refused(config: str, vit_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(vit_folder, tmp_path / "vit"))
    (folder / "config.json").write_text(config)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with pytest.raises(EncoderLoadError) as caught:
        ImageTower.from_folder(folder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_projection_is_refused(vit_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(vit_folder, tmp_path / "vit"))
    (folder / "projection.safetensors").write_bytes(b"nothing")
    with pytest.raises(EncoderLoadError, match="projection"):
        ImageTower.from_folder(folder)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "mean_sqrt_len_tokens", "lasttoken"])
def test_text_poolings_ignore_padding(pooling: str, bert_folder: Path) -> None:
    tower = TextTower.from_folder(bert_folder)
    tower.pooling = pooling
    ids = torch.tensor([[2, 9, 12, 11, 3]])
    alone = tower(ids, torch.ones_like(ids))
    padded = tower(torch.nn.functional.pad(ids, (0, 6)), torch.nn.functional.pad(torch.ones_like(ids), (0, 6)))
    np.testing.assert_allclose(padded.detach().numpy(), alone.detach().numpy(), atol=1e-5)


def dense_sentence(folder: Path) -> Path:
    """A sentence-transformers folder with a dense layer behind its pooling."""
    tiny_models.bert(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense", "3_Normalize": "Normalize"}
    modules = [{"name": n, "path": n, "type": f"sentence_transformers.models.{k}"} for n, k in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    for name in list(kinds)[1:]:
        (folder / name).mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "max"}))
    dense = {"in_features": 32, "out_features": 12, "activation_function": "torch.nn.modules.activation.Tanh"}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(dense))
    layer = torch.nn.Linear(32, 12)
    torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(3))
    save_file({f"linear.{n}": v.detach() for n, v in layer.state_dict().items()}, folder / "2_Dense/model.safetensors")
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "ask: "}}))
    return folder


TEXT_FOLDERS = {
    "bert": tiny_models.bert,
    "dense": dense_sentence,
    "clip": tiny_models.clip,
    "siglip": tiny_models.siglip,
    **{name: partial(tiny_models.text, name=name) for name in tiny_models.text_models()},
}


def token_batch(tower: TextTower) -> dict[str, torch.Tensor]:
    batch: dict[str, torch.Tensor] = tower.served().sample(3, 1)
    return batch


@pytest.mark.parametrize("name", sorted(TEXT_FOLDERS))
def test_every_text_tower_is_saved_and_loaded_again(name: str, tmp_path: Path) -> None:
    tower = TextTower.from_folder(TEXT_FOLDERS[name](tmp_path / "source"))
    vectors = tower(**token_batch(tower))
    tower.save(tmp_path / "tower", dtype="float16", card="# A tower\n")
    again = TextTower.from_folder(tmp_path / "tower")
    agree(again(**token_batch(tower)), vectors)
    assert again.describe() == tower.describe()
    assert (tmp_path / "tower" / "README.md").read_text() == "# A tower\n"
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("weights", "the weights are not those of tower.json"),
        ("head", "the weights are not those of tower.json"),
        ("pooling", "is no record of a text tower"),
        ("layers", "does not hold the weights that tower.json describes"),
        ("tokenizer", "tokenizer.json: is missing or was changed"),
        ("no tokenizer", "tokenizer.json: is missing or was changed"),
    ],
)
def test_a_text_tower_that_was_changed_is_refused(change: str, reason: str, tmp_path: Path) -> None:
    folder = TextTower.from_folder(dense_sentence(tmp_path / "source")).save(tmp_path / "tower")
    record = json.loads((folder / "tower.json").read_text())
    if change in {"weights", "head"}:
        path = folder / ("model.safetensors" if change == "weights" else "head.safetensors")
        save_file({name: value + 1 for name, value in load_file(path).items()}, path, {"format": "pt"})
    elif change == "pooling":
        del record["pooling"]
    elif change == "tokenizer":
        (folder / "tokenizer.json").write_text("{}")
    elif change == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    else:
        record["head"][0]["out_features"] = 13
    (folder / "tower.json").write_text(json.dumps(record))
    with pytest.raises(EncoderLoadError, match=reason):
        TextTower.from_folder(folder)


def test_the_text_half_of_a_folder_whose_record_is_of_pictures(tmp_path: Path) -> None:
    folder = tiny_models.clip(tmp_path / "clip")
    (folder / "tower.json").write_text(json.dumps({"normalize": True, "pooling": "projection"}))
    assert ImageTower.from_folder(folder).pooling == TextTower.from_folder(folder).pooling == "projection"
