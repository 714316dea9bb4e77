from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import encoders
from encoders import EncoderFolder, EncoderLoadError
from encoders.exporting import contract_of, open_tower
from encoders.files import sha256_of_file
from encoders.source import resolve
from tests.unit.encoders import tiny_models

TEXTS = ["red dress", "a much longer text about a chair and a table", "apple", "x " * 200, "1 2 3"]


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(axis=1) / norms).min())


def both_runtimes(source: Path, folder: Path, items: list[Any], **how: Any) -> encoders.EncoderContract:
    """Export, then hold ONNX Runtime's vectors to torch's."""
    contract = encoders.export(source, folder, name="tiny", version=2, **how)
    with (
        encoders.load(folder) as onnx,
        encoders.load(source, name="tiny", version=2, runtime="torch", **how) as reference,
    ):
        assert onnx.contract == reference.contract == contract
        assert cosine(onnx.encode(items), reference.encode(items)) >= 0.9999
    return contract


def test_a_bert_folder(bert_folder: Path, tmp_path: Path) -> None:
    contract = both_runtimes(bert_folder, tmp_path / "encoder", TEXTS)
    assert sorted(path.name for path in (tmp_path / "encoder").iterdir()) == [
        "encoder.json",
        "graph.json",
        "model.onnx",
        "tokenizer.json",
    ]
    assert (contract.name, contract.version, contract.modality) == ("tiny", 2, "text")
    assert (contract.dimension, contract.pooling, contract.max_input) == (32, "mean", 64)
    assert contract.weights_hash == sha256_of_file(bert_folder / "model.safetensors")


def test_a_sentence_transformers_folder_with_dense_layer_and_prompts(tmp_path: Path) -> None:
    source = tmp_path / "sentence"
    tiny_models.bert(source)
    for name, kind in (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_N", "Normalize")):
        (source / name).mkdir(exist_ok=True)
        entry = {"idx": 0, "name": name, "path": name, "type": f"sentence_transformers.models.{kind}"}
        modules = json.loads((source / "modules.json").read_text()) if (source / "modules.json").exists() else []
        (source / "modules.json").write_text(json.dumps([*modules, entry]))
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (source / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    dense = {"in_features": 32, "out_features": 12, "activation_function": "torch.nn.modules.activation.Tanh"}
    (source / "2_Dense" / "config.json").write_text(json.dumps(dense))
    layer = torch.nn.Linear(32, 12)
    state = {f"linear.{name}": tensor.detach().clone() for name, tensor in layer.state_dict().items()}
    save_file(state, source / "2_Dense" / "model.safetensors")
    (source / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "red "}}))
    contract = both_runtimes(source, tmp_path / "encoder", TEXTS)
    assert (contract.dimension, contract.pooling, contract.normalized) == (12, "cls", True)
    with encoders.load(tmp_path / "encoder") as encoder:
        np.testing.assert_allclose(encoder.encode(["dress"], "query"), encoder.encode(["red dress"]), atol=1e-5)
    (source / "2_Dense" / "model.safetensors").rename(source / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(EncoderLoadError, match="pickled"):
        encoders.export(source, tmp_path / "other", name="tiny")


@pytest.mark.parametrize("kind", ["WordEmbeddings", "Router", "Asym"])
def test_modules_that_are_not_understood_are_refused(kind: str, tmp_path: Path) -> None:
    source = tiny_models.bert(tmp_path / "bert")
    modules = [{"path": "", "type": "x.Transformer"}, {"path": "", "type": f"sentence_transformers.models.{kind}"}]
    (source / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderLoadError, match=kind):
        encoders.export(source, tmp_path / "encoder", name="tiny")
    assert not (tmp_path / "encoder").exists()


def test_a_modules_path_may_not_leave_the_folder(tmp_path: Path) -> None:
    source = tiny_models.bert(tmp_path / "bert")
    (source / "modules.json").write_text(json.dumps([{"path": "../../etc", "type": "x.Transformer"}]))
    with pytest.raises(EncoderLoadError, match="leads out"):
        encoders.export(source, tmp_path / "encoder", name="tiny")


def test_both_towers_of_clip_share_a_space(clip_folder: Path, tmp_path: Path, picture: Callable[..., bytes]) -> None:
    pictures = [picture("PNG", seed=seed) for seed in range(5)]
    image = both_runtimes(clip_folder, tmp_path / "image", pictures)
    text = both_runtimes(clip_folder, tmp_path / "text", TEXTS, modality="text")
    assert (image.modality, text.modality) == ("image", "text")
    assert image.dimension == text.dimension == 24
    encoders.require_shared_space(image, text)
    stranger = encoders.external_contract("stranger", version=1, dimension=24, modality="text")
    with pytest.raises(encoders.ContractMismatchError):
        encoders.require_shared_space(image, stranger)


def test_both_towers_of_siglip(siglip_folder: Path, tmp_path: Path, picture: Callable[..., bytes]) -> None:
    image = both_runtimes(siglip_folder, tmp_path / "image", [picture("JPEG", seed=seed) for seed in range(3)])
    text = both_runtimes(siglip_folder, tmp_path / "text", TEXTS, modality="text")
    encoders.require_shared_space(image, text)


@pytest.mark.parametrize("name", ["clap", "xclip"])
def test_the_words_of_sounds_and_films(name: str, tmp_path: Path) -> None:
    source = tiny_models.audio(tmp_path / name, name) if name == "clap" else tiny_models.video(tmp_path / name, name)
    tiny_models.save_tokenizer(source, longest=16)
    text = both_runtimes(source, tmp_path / "text", TEXTS, modality="text")
    other = contract_of(resolve(source), open_tower(resolve(source)), name, 1)
    assert (text.modality, other.modality) == ("text", "audio" if name == "clap" else "video")
    encoders.require_shared_space(text, other)


@pytest.mark.parametrize("name", sorted(tiny_models.text_models()))
def test_text_architectures(name: str, tmp_path: Path) -> None:
    contract = both_runtimes(tiny_models.text(tmp_path / name, name), tmp_path / "encoder", TEXTS)
    assert (contract.modality, contract.pooling, contract.dimension) == ("text", "mean", 32)


@pytest.mark.parametrize("name", ["vit", "vit_classifier", "dinov2", "dinov2_resized", "resnet", "convnext", "swin"])
def test_vision_architectures(name: str, tmp_path: Path, picture: Callable[..., bytes]) -> None:
    source = tiny_models.vision(tmp_path / name, name)
    both_runtimes(source, tmp_path / "encoder", [picture("PNG", seed=seed) for seed in range(3)])


def test_an_encoder_folder_is_copied_under_another_name(bert_folder: Path, tmp_path: Path) -> None:
    first = encoders.export(bert_folder, tmp_path / "one", name="one")
    second = encoders.export(tmp_path / "one", tmp_path / "two", name="two", version=4)
    assert (second.name, second.version) == ("two", 4)
    encoders.require_shared_space(first, second)
    with encoders.load(tmp_path / "one") as one, encoders.load(tmp_path / "two") as two:
        np.testing.assert_array_equal(one.encode(TEXTS), two.encode(TEXTS))
        assert two.contract == second
    with pytest.raises(EncoderLoadError, match="onto itself"):
        encoders.export(tmp_path / "one", tmp_path / "one", name="one")


def test_an_encoder_stays_in_its_space_under_every_name_and_others_stay_out(bert_folder: Path, tmp_path: Path) -> None:
    first = encoders.export(bert_folder, tmp_path / "one", name="one")
    second = encoders.export(bert_folder, tmp_path / "two", name="two", version=4)
    with encoders.load(bert_folder, name="two", version=4) as loaded:
        assert loaded.contract == second
    encoders.require_shared_space(first, second)
    # The same weights in another network.
    other = Path(shutil.copytree(bert_folder, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "num_attention_heads": 2}))
    assert not encoders.export(other, tmp_path / "three", name="three").shares_space_with(first)


def test_contracts_are_the_same_every_time(bert_folder: Path, tmp_path: Path) -> None:
    first = encoders.export(bert_folder, tmp_path / "a", name="tiny")
    second = encoders.export(bert_folder, tmp_path / "a", name="tiny")
    assert first == second
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failed_export_leaves_nothing_and_keeps_what_was_there(bert_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "encoder"
    wanted = encoders.export(bert_folder, target, name="tiny")
    broken = Path(shutil.copytree(bert_folder, tmp_path / "broken"))
    (broken / "tokenizer.json").write_text("{")
    with pytest.raises(EncoderLoadError):
        encoders.export(broken, target, name="tiny")
    assert EncoderFolder.open(target).contract == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "encoder"]


@pytest.mark.parametrize("name", ["text", "image", "audio", "video", "fused"])
def test_the_tracked_default_contract_is_what_its_weights_give(name: str) -> None:
    source = resolve(name)
    assert contract_of(source, open_tower(source), name, 1) == encoders.default_contract(name)


@pytest.mark.parametrize("name", ["image", "audio", "video", "fused"])
def test_the_default_spaces_may_be_asked_by_default_text(name: str) -> None:
    encoders.require_shared_space(encoders.default_contract(name), encoders.default_contract("text"))


def test_an_unknown_default_is_named() -> None:
    with pytest.raises(EncoderLoadError, match="smell"):
        encoders.default_contract("smell")


@pytest.mark.parametrize("name", ["", "a b", "../up", "-x", "a/b", "é"])
def test_names_unfit_for_a_folder_are_refused(name: str, bert_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderLoadError, match="name"):
        encoders.export(bert_folder, tmp_path / "encoder", name=name)
