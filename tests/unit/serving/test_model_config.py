from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import ConfigurationError
from connector.serving.model_config import contracts_of, parse_config, render_config
from connector.serving.repository import MODEL_PY, described, write_model_files
from encoders.contract import EncoderContract
from tests.triton_fixtures import probe_contract

TRACKED = Path(__file__).parents[3] / "triton_models"


def test_the_configuration_agrees_with_the_contract() -> None:
    from tritonclient.grpc import model_config_pb2 as pb

    contract = probe_contract("text", 3, 384)
    config = parse_config(render_config(contract, max_batch=32, instances=2, threads=1))
    assert (config.name, config.backend, config.max_batch_size) == ("text", "python", 32)
    assert [(i.name, i.data_type, list(i.dims), i.optional) for i in config.input] == [
        ("INPUT", pb.TYPE_STRING, [1], False),
        ("QUERY", pb.TYPE_BOOL, [1], True),
    ]
    assert [(o.name, o.data_type, list(o.dims)) for o in config.output] == [
        ("EMBEDDING", pb.TYPE_FP32, [384]),
        ("ERROR", pb.TYPE_STRING, [1]),
        ("CHECK", pb.TYPE_UINT32, [1]),
    ]
    assert config.version_policy.HasField("all")
    assert config.instance_group[0].count == 2
    assert max(config.dynamic_batching.preferred_batch_size) == 32
    assert config.dynamic_batching.max_queue_delay_microseconds <= 1000
    assert config.model_warmup[0].inputs["INPUT"].input_data_file
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    assert parameters["contract"] == parameters["contract.3"] == contract.to_json()
    assert parameters["contract_hash"] == parameters["contract_hash.3"] == contract.hash
    assert parameters["threads"] == "1"
    assert contracts_of(config) == {3: contract}


def test_no_request_is_left_lying_beside_an_idle_model() -> None:
    """Triton forms the next batch while one is worked on only without these; otherwise it may look every 500 ms."""
    batching = parse_config(render_config(probe_contract())).dynamic_batching
    assert batching.priority_levels == 0
    assert not batching.HasField("default_queue_policy")
    assert not batching.priority_queue_policy


def test_versions_of_one_model() -> None:
    first, second = probe_contract(version=1), probe_contract(version=2)
    config = parse_config(render_config([second, first]))
    assert contracts_of(config) == {1: first, 2: second}
    assert config.parameters["contract_hash"].string_value == second.hash
    assert list(config.output[0].dims) == [8]
    wider = parse_config(render_config([first, replace(second, dimension=16)]))
    assert list(wider.output[0].dims) == [-1]


def test_contracts_that_are_no_versions_of_one_model() -> None:
    with pytest.raises(ConfigurationError, match="several models"):
        render_config([probe_contract("a"), probe_contract("b")])
    with pytest.raises(ConfigurationError, match="twice"):
        render_config([probe_contract(), probe_contract(dimension=9)])


def test_a_modality_without_a_sample_is_not_warmed_up() -> None:
    config = parse_config(render_config(replace(probe_contract(), modality="sequence")))
    assert not config.model_warmup
    assert config.response_cache.enable
    # A decoder may be too slow once, and that must not be remembered.
    for modality in ("image", "audio", "video"):
        assert not parse_config(render_config(replace(probe_contract(), modality=modality))).response_cache.enable


@given(pooling=st.text(max_size=40), dimension=st.integers(1, 4096), batch=st.integers(1, 512))
def test_any_contract_survives(pooling: str, dimension: int, batch: int) -> None:
    contract = replace(probe_contract(), pooling=pooling, dimension=dimension)
    config = parse_config(render_config(contract, max_batch=batch))
    assert contracts_of(config) == {1: contract}
    assert list(config.output[0].dims) == [dimension]


def test_text_that_is_no_configuration() -> None:
    with pytest.raises(ConfigurationError, match="does not parse"):
        parse_config("name: {")


def tracked_models() -> list[EncoderContract]:
    return described(TRACKED)


@pytest.mark.parametrize("contract", tracked_models(), ids=lambda contract: contract.label)
def test_the_tracked_models_are_what_publish_writes(contract: EncoderContract, tmp_path: Path) -> None:
    from encoders import default_contract

    assert contract == default_contract(contract.name)
    version = tmp_path / contract.name / str(contract.version)
    version.mkdir(parents=True)
    tracked = TRACKED / contract.name
    (version / "encoder.json").write_text(json.dumps({"contract": json.loads(contract.to_json())}))
    write_model_files(tmp_path, contract.name)
    for file in ("config.pbtxt", "warmup/sample"):
        assert (tmp_path / contract.name / file).read_bytes() == (tracked / file).read_bytes(), file
    assert (tracked / str(contract.version) / "model.py").read_text() == MODEL_PY


def test_the_shipped_encoders_are_tracked() -> None:
    assert "text" in {contract.name for contract in tracked_models()}
