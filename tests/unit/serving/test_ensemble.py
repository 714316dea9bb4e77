"""What is published of a fused encoder: its members, its heads, and an ensemble for each version."""

from __future__ import annotations

from pathlib import Path

import pytest

import encoders
from connector.errors import ContractMismatchError, ServingError
from connector.serving import publish, published
from connector.serving.ensemble import modalities_of, served_model
from connector.serving.model_config import contracts_of, parse_config
from connector.serving.repository import HEAD_PY
from tests.unit.encoders import tiny_models


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_members_heads_and_ensembles(tmp_path: Path) -> None:
    repository, source = tmp_path / "models", tiny_models.fused(tmp_path / "one" / "tower")
    first = publish(repository, source, name="item", version=1)
    assert publish(repository, source, name="item", version=1) == first
    assert [c.name for c in published(repository)] == ["item", "tiny_image", "tiny_text"]
    assert (repository / "item" / "1" / "model.py").read_text() == HEAD_PY
    with encoders.load(repository / "item" / "1") as encoder:
        assert encoder.contract == first
        assert encoder.encode([{"text": "red"}]).shape == (1, 24)

    contracts = [c for c in published(repository) if c.name.startswith("tiny")]
    wider = encoders.export(tiny_models.bert(tmp_path / "wide", hidden_size=64), tmp_path / "wide-encoder", name="wide")
    from encoders.towers.fused import FusedTower

    folders = {"text": tmp_path / "wide-encoder", "image": repository / "tiny_image" / "1"}
    second_source = FusedTower([wider, contracts[0]], dimension=16, folders=folders).save(tmp_path / "two")
    second = publish(repository, second_source, name="item", version=2)

    heads = parse_config((repository / "item" / "config.pbtxt").read_text())
    assert contracts_of(heads) == {}
    assert {name for name in heads.parameters if name.startswith("contract_hash")} >= {
        "contract_hash.1",
        "contract_hash.2",
    }
    sizes = {each.name: list(each.dims) for each in heads.input}
    assert sizes["TEXT_EMBEDDING"] == [-1]
    assert sizes["IMAGE_EMBEDDING"] == [32]
    for contract, text_model in ((first, "tiny_text"), (second, "wide")):
        model, _ = served_model(contract)
        ensemble = parse_config((repository / model / "config.pbtxt").read_text())
        assert modalities_of(ensemble) == ("text", "image")
        assert contracts_of(ensemble) == {contract.version: contract}
        assert [output.name for output in ensemble.output] == ["EMBEDDING", "ERROR", "CHECK"]
        assert ensemble.ensemble_scheduling.step[0].output_map["CHECK"] == "TEXT_CHECK" in sizes
        steps = [(step.model_name, step.model_version) for step in ensemble.ensemble_scheduling.step]
        assert steps == [(text_model, 1), ("tiny_image", 1), ("item", contract.version)]
        assert (repository / model / "1").is_dir()


def test_a_member_s_name_that_another_encoder_has(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    publish(repository, tiny_models.bert(tmp_path / "other", hidden_size=64), name="tiny_text", version=1)
    with pytest.raises(ContractMismatchError, match="tiny_text"):
        publish(repository, tiny_models.fused(tmp_path / "one" / "tower"), name="item", version=1)
    assert [c.name for c in published(repository)] == ["tiny_text"]


def test_the_name_of_an_ensemble_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="ensemble of a fused encoder"):
        publish(tmp_path, "text", name="item__v2", version=1)
