from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import encoders
from encoders import Encoder, EncoderError, EncodeResult, EncoderFolder, EncoderLoadError, Runtime
from encoders.cache import cache_root
from encoders.files import sha256_of_json, write_json
from encoders.folder import record_of, write_graph_record
from encoders.registry import REGISTRY
from encoders.source import default_name
from tests.unit.encoders import tiny_models


@pytest.fixture(scope="module")
def encoder_folder(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    encoders.export(bert_folder, folder, name="tiny")
    return folder


@pytest.fixture
def copied(encoder_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(encoder_folder, tmp_path / "copy"))


def test_a_model_folder_is_exported_once_and_kept(
    bert_folder: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with encoders.load(bert_folder, name="words", version=3) as first:
        assert (first.contract.name, first.contract.version) == ("words", 3)
        wanted = first.encode(["red dress"])
    assert cache_root() == private_cache / "multimodal-connector" / "encoders"
    assert len(list(cache_root().iterdir())) == 1
    monkeypatch.setattr("encoders.cache.open_tower", lambda source: pytest.fail("exported again"))
    with encoders.load(bert_folder) as second:
        assert second.contract.name == bert_folder.name
        np.testing.assert_array_equal(second.encode(["red dress"]), wanted)


def test_changed_settings_are_exported_anew(bert_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert_folder, tmp_path / "bert"))
    long = encoders.load(folder).contract
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 8}))
    short = encoders.load(folder).contract
    assert (long.max_input, short.max_input) == (64, 8)
    assert long.preprocessing_hash != short.preprocessing_hash


def test_a_cache_that_cannot_be_written_says_so(
    bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EncoderLoadError, match="XDG_CACHE_HOME"):
        encoders.load(bert_folder)


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("./nowhere", "no such folder"),
        (Path("nowhere"), "no such folder"),
        ("some-company/some-model", "network"),
        ("not an id", "no such folder"),
        ("../nowhere/at-all", "no such folder"),
    ],
)
def test_what_is_not_there_is_named_with_a_remedy(source: str | Path, remedy: str) -> None:
    with pytest.raises(EncoderLoadError, match=remedy) as caught:
        encoders.load(source)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reached", [True, False])
def test_an_id_with_pickled_weights_alone_says_so(
    reached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')

    def names(_: str) -> list[str]:
        if not reached:
            raise ConnectionError("offline")
        return ["config.json", "pytorch_model.bin", "tf_model.h5"]

    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.list_repo_files", names)
    told = r"^old/model: holds pickled weights \(pytorch_model\.bin\), .* convert them with save_pretrained"
    with pytest.raises(EncoderLoadError, match=told if reached else r"holds no model\.safetensors|tokenizer") as caught:
        encoders.load("old/model")
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(EncoderLoadError, match=r"config\.json"):
        encoders.load(tmp_path)


def test_a_default_has_one_modality() -> None:
    with pytest.raises(EncoderLoadError, match="image"):
        encoders.load("text", modality="image")


def test_unknown_runtimes_and_misplaced_ones_are_refused(encoder_folder: Path) -> None:
    with pytest.raises(EncoderLoadError, match="runtime"):
        encoders.load(encoder_folder, runtime="tensorflow")  # type: ignore[arg-type]
    with pytest.raises(EncoderLoadError, match="onnx"):
        encoders.load(encoder_folder, runtime="torch")


def test_threads_come_from_the_environment(encoder_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCODER_THREADS", "3")
    with encoders.load(encoder_folder) as encoder:
        assert encoder._runtime.workers == 3  # type: ignore[attr-defined]
    for wrong in ("0", "many", "-1", ""):
        monkeypatch.setenv("ENCODER_THREADS", wrong)
        with pytest.raises(EncoderLoadError, match="ENCODER_THREADS"):
            encoders.load(encoder_folder)


def test_limits_can_be_given(encoder_folder: Path) -> None:
    with encoders.load(encoder_folder, max_bytes=4) as encoder:
        assert encoder.encode_tolerant(["apple", "red"]).errors.keys() == {0}


def test_a_closed_encoder_says_so(encoder_folder: Path) -> None:
    encoder = encoders.load(encoder_folder)
    encoder.close()
    encoder.close()
    with pytest.raises(EncoderError, match="closed"):
        encoder.encode(["red"])


@pytest.mark.parametrize("damage", ["missing", "graph", "tokenizer", "preprocessing", "json", "contract", "no_graph"])
def test_a_damaged_encoder_folder_is_refused(damage: str, copied: Path) -> None:
    record = json.loads((copied / "encoder.json").read_text())
    if damage == "missing":
        (copied / "encoder.json").unlink()
    elif damage == "graph":
        (copied / "model.onnx").write_bytes(b"not a graph")
        write_graph_record(copied, EncoderFolder.open(copied).contract)
    elif damage == "no_graph":
        (copied / "model.onnx").unlink()
    elif damage == "tokenizer":
        (copied / "tokenizer.json").write_text("{}")
    elif damage == "preprocessing":
        write_json(copied / "encoder.json", {**record, "preprocessing": {**record["preprocessing"], "max_tokens": 9}})
    elif damage == "contract":
        write_json(copied / "encoder.json", {**record, "contract": {**record["contract"], "dimension": -1}})
    else:
        (copied / "encoder.json").write_text("{")
    with pytest.raises(EncoderLoadError) as caught:
        encoders.load(copied)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["model.onnx"], "is not the graph that was exported here"),
        (["model.onnx", "graph.json"], "its graph was exported for another encoder .weights_hash is"),
        (["graph.json"], "its graph was exported for another encoder"),
    ],
)
def test_the_graph_of_another_encoder_is_refused(files: list[str], reason: str, copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    encoders.export(tiny_models.bert(tmp_path / "source", intermediate_size=40), other, name="tiny")
    assert encoders.load(other).contract.hash != encoders.load(copied).contract.hash
    for name in files:
        shutil.copyfile(other / name, copied / name)
    for use in (
        lambda: encoders.load(copied),
        lambda: encoders.export(copied, tmp_path / "again", name="tiny"),
        lambda: EncoderFolder.open(copied).graph,
    ):
        with pytest.raises(EncoderLoadError, match=f"{reason}.*export or publish the encoder again") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "again").exists()


def test_a_graph_without_a_record_is_refused(copied: Path) -> None:
    (copied / "graph.json").unlink()
    with pytest.raises(EncoderLoadError, match=r"holds no graph\.json; export or publish the encoder again"):
        encoders.load(copied)


def test_a_third_party_adds_an_encoder_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REGISTRY, "served", dict(REGISTRY.served))

    @encoders.register("audio")
    class Loudness(Encoder):
        def __init__(self, contract: encoders.EncoderContract) -> None:
            self._contract = contract

        @classmethod
        def from_folder(cls, folder: EncoderFolder, runtime: Runtime, **options: Any) -> Loudness:
            return cls(folder.contract)

        @property
        def contract(self) -> encoders.EncoderContract:
            return self._contract

        def encode_tolerant(self, items: Sequence[Any], side: encoders.Side = "document") -> EncodeResult:
            return EncodeResult(np.array([[len(item)] for item in items], np.float32))

    contract = encoders.external_contract("loud", version=1, dimension=1, modality="audio")
    contract = encoders.EncoderContract.from_dict(
        {**json.loads(contract.to_json()), "preprocessing_hash": sha256_of_json({"rate": 8000})}
    )
    write_json(tmp_path / "encoder.json", record_of(contract, {"rate": 8000}, "by hand"))
    (tmp_path / "model.onnx").write_bytes(identity_graph())
    write_graph_record(tmp_path, contract)
    assert encoders.load(tmp_path).encode([b"abc"]).tolist() == [[3.0]]
    with pytest.raises(EncoderLoadError, match="register"):
        REGISTRY.encoder_class("smell")


def identity_graph() -> bytes:
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", value[:1], value[1:])
    opset = helper.make_opsetid("", 17)
    content: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    return content


@pytest.mark.parametrize(
    ("source", "name"),
    [("org/Model-v1.5", "Model-v1.5"), ("/a/b c/", "b_c"), ("///", "encoder"), ("ünïcode", "n_code")],
)
def test_names_are_made_from_sources(source: str, name: str) -> None:
    assert default_name(source) == name


def test_importing_and_reading_contracts_needs_no_torch() -> None:
    program = (
        "import sys, encoders; encoders.default_contract('text'); encoders.load; encoders.Runtime; "
        "heavy = {'torch', 'transformers', 'onnxruntime', 'tokenizers', 'PIL'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there() -> None:
    for name in encoders.__all__:
        assert getattr(encoders, name) is not None
    assert callable(encoders.export)
    with pytest.raises(AttributeError):
        _ = encoders.nonsense
