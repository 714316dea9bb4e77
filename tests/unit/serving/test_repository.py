from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import encoders
from connector.errors import ContractMismatchError, EncoderLoadError, ServingError
from connector.serving import publish, published, repository
from connector.serving.model_config import contracts_of, parse_config, render_config
from connector.serving.repository import MODEL_PY, is_complete, read_contract
from encoders import find_aligned, require_shared_space
from encoders.contract import EncoderContract
from encoders.files import write_json
from tests.unit.encoders import tiny_models


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    tiny_models.bert(folder / "bert")
    tiny_models.bert(folder / "wider", hidden_size=64)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _private_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_what_is_published(tmp_path: Path, sources: Path) -> None:
    contract = publish(tmp_path, sources / "bert", name="words", version=2)
    assert (contract.name, contract.version, contract.dimension) == ("words", 2, 32)
    assert published(tmp_path) == [contract]
    assert sorted(snapshot(tmp_path)) == [
        "words/2/encoder.json",
        "words/2/graph.json",
        "words/2/model.contract",
        "words/2/model.onnx",
        "words/2/model.py",
        "words/2/tokenizer.json",
        "words/config.pbtxt",
        "words/warmup/sample",
    ]
    assert (tmp_path / "words" / "2" / "model.py").read_text() == MODEL_PY
    config = parse_config((tmp_path / "words" / "config.pbtxt").read_text())
    assert contracts_of(config) == {2: contract}


def test_publishing_again_changes_no_file(tmp_path: Path, sources: Path) -> None:
    first = publish(tmp_path, sources / "bert", name="words", version=1)
    before = snapshot(tmp_path)
    assert publish(tmp_path, sources / "bert", name="words", version=1) == first
    assert snapshot(tmp_path) == before


def test_a_taken_version_is_never_overwritten(tmp_path: Path, sources: Path) -> None:
    first = publish(tmp_path, sources / "bert", name="words", version=1)
    before = snapshot(tmp_path)
    with pytest.raises(ContractMismatchError, match=r"words/1 .* is not words/1 .*publish it under the next version"):
        publish(tmp_path, sources / "wider", name="words", version=1)
    assert snapshot(tmp_path) == before
    second = publish(tmp_path, sources / "wider", name="words", version=2)
    config = parse_config((tmp_path / "words" / "config.pbtxt").read_text())
    assert contracts_of(config) == {1: first, 2: second}
    assert list(config.output[0].dims) == [-1]
    assert published(tmp_path) == [first, second]


def test_a_version_under_development_is_replaced_when_asked(tmp_path: Path, sources: Path) -> None:
    publish(tmp_path, sources / "bert", name="words", version=1)
    second = publish(tmp_path, sources / "wider", name="words", version=1, replace_other=True)
    assert second.dimension == 64
    assert published(tmp_path) == [second]
    config = parse_config((tmp_path / "words" / "config.pbtxt").read_text())
    assert contracts_of(config) == {1: second}


def test_an_encoder_folder_is_published_as_it_is(tmp_path: Path, sources: Path) -> None:
    first = publish(tmp_path / "a", sources / "bert", name="words", version=1)
    second = publish(tmp_path / "b", tmp_path / "a" / "words" / "1", name="words", version=1)
    assert second == first
    renamed = publish(tmp_path / "b", tmp_path / "a" / "words" / "1", name="others", version=4)
    assert (renamed.name, renamed.version, renamed.weights_hash) == ("others", 4, first.weights_hash)


def test_both_halves_of_a_checkpoint_are_published(tmp_path: Path) -> None:
    source = tiny_models.clip(tmp_path / "clip")
    models = tmp_path / "models"
    image = publish(models, source, name="clip")
    words = publish(models, source, name="clip_words", modality="text")
    films = publish(models, source, name="clip_films", modality="video")
    assert [contract.modality for contract in (image, words, films)] == ["image", "text", "video"]
    assert published(models) == [image, films, words]
    require_shared_space(image, words)
    require_shared_space(films, words)
    assert find_aligned(image, published(models), "text") == words
    before = snapshot(models)
    assert publish(models, source, name="clip_words", modality="text") == words
    assert snapshot(models) == before
    with encoders.load(models / "clip_words" / "1") as served, encoders.load(source, modality="text") as wanted:
        np.testing.assert_allclose(served.encode(["red dress"], "query"), wanted.encode(["red dress"], "query"))


def test_a_modality_that_is_not_there(tmp_path: Path, sources: Path) -> None:
    models = tmp_path / "models"
    with pytest.raises(EncoderLoadError, match="not pictures"):
        publish(models, sources / "bert", name="words", modality="image")
    with pytest.raises(EncoderLoadError, match="does not encode image; use 'image'"):
        publish(models, "text", name="words", modality="image")
    with pytest.raises(EncoderLoadError, match="no tower is registered for modality 'smell'"):
        publish(models, sources / "bert", name="words", modality="smell")
    assert not list(tmp_path.rglob("words"))
    publish(models, sources / "bert", name="words")
    exported = models / "words" / "1"
    assert publish(models, exported, name="others", modality="text").modality == "text"
    with pytest.raises(EncoderLoadError, match="is an exported encoder of text, and holds no tower of image"):
        publish(models, exported, name="pictures", modality="image")


def test_one_name_has_one_modality(tmp_path: Path, sources: Path) -> None:
    models = tmp_path / "models"
    text = publish(models, sources / "bert", name="both")
    vit = tiny_models.vit(tmp_path / "vit")
    told = r"encodes text, and both/2 .* encodes image; .*a name of its own"
    with pytest.raises(ContractMismatchError, match=told) as caught:
        publish(models, vit, name="both", version=2)
    assert text.label in str(caught.value)
    assert published(models) == [text]
    # What is under development may become something else altogether.
    assert publish(models, vit, name="both", replace_other=True).modality == "image"


def test_a_fresh_checkout_is_completed(tmp_path: Path, sources: Path) -> None:
    contract = publish(tmp_path, sources / "bert", name="words", version=1)
    whole = {name: content for name, (_, content) in snapshot(tmp_path).items()}
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / "words" / "1" / name).unlink()
    assert not is_complete(tmp_path, contract)
    assert published(tmp_path) == []
    assert publish(tmp_path, sources / "bert", name="words", version=1) == contract
    assert {name: content for name, (_, content) in snapshot(tmp_path).items()} == whole


def test_a_graph_of_another_contract_is_replaced(tmp_path: Path, sources: Path) -> None:
    """A checkout moved on: the tracked description is a new encoder's, the graph that git ignores is the old one's."""
    contract = publish(tmp_path, sources / "bert", name="words", version=1)
    publish(tmp_path / "moved", sources / "wider", name="words", version=1)
    whole = snapshot(tmp_path / "moved")
    for name in ("encoder.json", "model.py"):
        shutil.copyfile(tmp_path / "moved" / "words" / "1" / name, tmp_path / "words" / "1" / name)
    moved = read_contract(tmp_path / "words" / "1")
    assert moved != contract
    assert not is_complete(tmp_path, moved)
    assert publish(tmp_path, sources / "wider", name="words", version=1) == moved
    assert is_complete(tmp_path, moved)
    graph = tmp_path / "words" / "1" / "model.onnx"
    assert graph.read_bytes() == whole["words/1/model.onnx"][1]


@pytest.mark.parametrize("lost", [False, True])
def test_a_graph_that_is_not_the_exported_one_is_made_anew(tmp_path: Path, sources: Path, lost: bool) -> None:
    """It was overwritten, or exported before graphs had a record."""
    contract = publish(tmp_path, sources / "bert", name="words", version=1)
    whole = {name: content for name, (_, content) in snapshot(tmp_path).items()}
    folder = tmp_path / "words" / "1"
    if lost:
        (folder / "graph.json").unlink()
        assert published(tmp_path) == []
    else:
        (folder / "model.onnx").write_bytes(b"another")
        with pytest.raises(EncoderLoadError, match="is not the graph"):
            publish(tmp_path / "copy", folder, name="words", version=1)
    assert publish(tmp_path, sources / "bert", name="words", version=1) == contract
    assert {name: content for name, (_, content) in snapshot(tmp_path).items()} == whole


def test_what_a_killed_run_left_is_no_model(tmp_path: Path, sources: Path) -> None:
    contract = publish(tmp_path, sources / "bert", name="words", version=1)
    shutil.copytree(tmp_path / "words" / "1", tmp_path / ".staging-left" / "1")
    assert published(tmp_path) == [contract]
    publish(tmp_path, sources / "wider", name="wider", version=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".staging-left", "wider", "words"]


def test_several_may_publish_the_same_at_once(tmp_path: Path, sources: Path) -> None:
    publish(tmp_path / "first", sources / "bert", name="words", version=1)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(publish, tmp_path / "all", sources / "bert", name="words", version=1) for _ in range(8)]
        assert len({job.result().hash for job in jobs}) == 1
    assert sorted(snapshot(tmp_path / "all")) == sorted(snapshot(tmp_path / "first"))


def test_another_publishes_the_same_just_before(tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version lies there whole and is left as it is, and what belongs to the model it has yet to write."""
    contract = publish(tmp_path / "first", sources / "bert", name="words", version=1)
    folder = tmp_path / "all" / "words" / "1"

    def meanwhile(path: Path, record: object) -> None:
        shutil.copytree(tmp_path / "first" / "words" / "1", folder)
        write_json(path, record)

    monkeypatch.setattr(repository, "write_json", meanwhile)
    assert publish(tmp_path / "all", sources / "bert", name="words", version=1) == contract
    assert snapshot(folder) == snapshot(tmp_path / "first" / "words" / "1")
    assert sorted(snapshot(tmp_path / "all")) == sorted(snapshot(tmp_path / "first"))


def test_another_publishes_the_next_version_at_once(
    tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The description of the model names both versions, whoever writes it last."""
    second = publish(tmp_path / "second", sources / "wider", name="words", version=2)

    def meanwhile(contracts: list[EncoderContract], **how: object) -> str:
        text = render_config(contracts, **how)  # type: ignore[arg-type]
        if len(contracts) == 1:
            shutil.copytree(tmp_path / "second" / "words" / "2", tmp_path / "all" / "words" / "2")
        return text

    monkeypatch.setattr(repository, "render_config", meanwhile)
    first = publish(tmp_path / "all", sources / "bert", name="words", version=1)
    config = parse_config((tmp_path / "all" / "words" / "config.pbtxt").read_text())
    assert contracts_of(config) == {1: first, 2: second}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a b", "é", "\n", "x" * 200, ".hidden"])
def test_names_that_are_none(tmp_path: Path, sources: Path, name: str) -> None:
    with pytest.raises((ServingError, EncoderLoadError)) as caught:
        publish(tmp_path, sources / "bert", name=name, version=1)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_version_below_one(tmp_path: Path, sources: Path) -> None:
    with pytest.raises(ServingError, match="version 0 is below 1"):
        publish(tmp_path, sources / "bert", name="words", version=0)


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EncoderLoadError, match="no such folder"):
        publish(tmp_path / "models", tmp_path / "absent", name="words", version=1)
    assert not list(tmp_path.rglob("words"))


def test_a_repository_that_cannot_be_written(tmp_path: Path, sources: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServingError, match="cannot be written"):
        publish(tmp_path / "file", sources / "bert", name="words", version=1)


def test_no_repository_is_an_empty_one(tmp_path: Path) -> None:
    assert published(tmp_path / "absent") == []


def test_a_damaged_record_is_named(tmp_path: Path, sources: Path) -> None:
    publish(tmp_path, sources / "bert", name="words", version=1)
    record = tmp_path / "words" / "1" / "encoder.json"
    record.write_text(json.dumps({"contract": 3}))
    with pytest.raises(EncoderLoadError, match=r"encoder\.json: holds no contract"):
        published(tmp_path)
    record.write_text("{")
    with pytest.raises(EncoderLoadError, match=r"encoder\.json"):
        read_contract(record.parent)
