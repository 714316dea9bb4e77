"""Limits of a model's inputs: written into its configuration, heeded served and in process, kept until changed."""

from __future__ import annotations

from pathlib import Path

import pytest

import encoders
from connector.cli import run
from connector.config import TritonSettings
from connector.errors import ConfigurationError, EncoderLoadError
from connector.serving import publish
from connector.serving.model_config import limits_of, parse_config
from connector.serving.provider import EncoderProvider
from encoders.limits import limit_names, limits_among, read_limits
from encoders.triton_model import TritonPythonModel
from tests.unit.encoders import tiny_models


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model repository with a tiny encoder of words, held to texts of four bytes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    publish(tmp_path / "models", tiny_models.bert(tmp_path / "bert"), name="words", limits={"max_bytes": "4"})
    return tmp_path / "models"


def stated(models: Path) -> dict[str, int | float]:
    return limits_of(parse_config((models / "words" / "config.pbtxt").read_text()), "text")


def test_they_hold_on_the_server_and_in_process(models: Path, tmp_path: Path) -> None:
    contract = encoders.EncoderFolder.open(models / "words" / "1").contract
    with EncoderProvider(TritonSettings(mode="process", model_repository="models"), tmp_path) as provider:
        here = provider.get(contract).encode_tolerant(["red", "chair"])
    assert list(here.errors) == [1]
    config = parse_config((models / "words" / "config.pbtxt").read_text())
    from google.protobuf.json_format import MessageToJson

    served = TritonPythonModel()
    text = MessageToJson(config, preserving_proto_field_name=True)
    served.initialize({"model_repository": str(models / "words"), "model_version": "1", "model_config": text})
    assert served._encoder.encode_tolerant([b"red", b"chair"]).errors == here.errors
    served.finalize()


def test_they_stay_until_others_are_given(models: Path, tmp_path: Path) -> None:
    publish(models, tmp_path / "bert", name="words", version=2)
    assert stated(models) == {"max_bytes": 4}
    publish(models, tmp_path / "bert", name="words", version=2, limits={"max_bytes": 9})
    assert stated(models) == {"max_bytes": 9}
    publish(models, tmp_path / "bert", name="words", version=2, limits={})
    assert stated(models) == {}


def test_of_a_fused_encoder_those_of_its_members_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    contract = publish(tmp_path / "models", tiny_models.fused(tmp_path / "tower"), name="item")
    publish(tmp_path / "models", tmp_path / "bert", name="tiny_text", limits={"max_bytes": 4})
    with EncoderProvider(TritonSettings(mode="process", model_repository="models"), tmp_path) as provider:
        found = provider.get(contract).encode_tolerant([{"text": "red"}, {"text": "chair"}])
    assert list(found.errors) == [1]
    assert found.errors[1].startswith("text: ")
    with pytest.raises(
        EncoderLoadError, match=r"of fused has no limit 'max_bytes'; it has none; set those of its memb"
    ):
        publish(tmp_path / "models", tmp_path / "tower", name="item", limits={"max_bytes": 4})


@pytest.mark.parametrize(
    ("modality", "values", "message"),
    [
        (
            "image",
            {"max_frames": 1},
            "no limit 'max_frames'; it has max_bytes, max_pixels, max_side, max_scans, seconds",
        ),
        ("text", {"max_bytes": "many"}, "limit max_bytes=many: expected a whole number above 0"),
        ("text", {"max_bytes": 0}, "limit max_bytes=0: expected a whole number above 0"),
        ("video", {"seconds": "nan"}, "limit seconds=nan: expected a number above 0"),
        ("audio", {"seconds": float("inf")}, "limit seconds=inf: expected a number above 0"),
        ("sequence", {"max_bytes": 1}, "no limit 'max_bytes'; it has none"),
    ],
)
def test_what_is_no_limit(modality: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(EncoderLoadError, match=message):
        read_limits(modality, values)


def test_every_limit_is_one_that_its_encoder_takes() -> None:
    for modality in ("text", "image", "audio", "video"):
        limits = read_limits(modality, dict.fromkeys(limit_names(modality), 1000))
        assert len(limits) == len(limit_names(modality)) > 0
        encoders.load(modality, **limits).close()


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run(["init", str(tmp_path / "shop")]) == 0
    source = str(tiny_models.bert(tmp_path / "bert"))
    asked = ["encoders", "publish", source, "--name", "words", "--repo", str(tmp_path / "shop")]
    assert run([*asked, "--limit", "max_bytes=7"]) == 0
    models = tmp_path / "shop" / "triton_models"
    assert stated(models) == {"max_bytes": 7}
    assert run(asked) == 0
    assert stated(models) == {"max_bytes": 7}
    assert run([*asked, "--limit", "none"]) == 0
    assert stated(models) == {}
    capsys.readouterr()
    assert run([*asked, "--limit", "max_bytes"]) == 2
    assert "--limit max_bytes: expected NAME=NUMBER" in capsys.readouterr().err


def test_a_wrong_one_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(EncoderLoadError, match="no limit 'max_byte'"):
        publish(tmp_path / "models", "text", name="text", limits={"max_byte": 4})
    assert not (tmp_path / "models").exists()


def test_answers_under_limits_are_not_remembered(models: Path, tmp_path: Path) -> None:
    def remembered() -> bool:
        return bool(parse_config((models / "words" / "config.pbtxt").read_text()).response_cache.enable)

    assert not remembered()
    publish(models, tmp_path / "bert", name="words", limits={})
    assert remembered()


def test_the_name_it_had_before_is_heeded() -> None:
    assert limits_among([("max_bytes", "7"), ("threads", "2")], "text") == {"max_bytes": 7}
    assert limits_among([("max_bytes", "7"), ("limit.max_bytes", "9")], "text") == {"max_bytes": 9}


@pytest.mark.parametrize(
    "content", [b"name: {", b"\xff\xfe", b'parameters { key: "limit.max_side" value { string_value: "1" } }']
)
def test_a_configuration_that_cannot_be_read_is_named(models: Path, tmp_path: Path, content: bytes) -> None:
    file = models / "words" / "config.pbtxt"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"words/config\.pbtxt: its limits cannot be read .* remove the file"):
        publish(models, tmp_path / "bert", name="words")
    file.unlink()
    publish(models, tmp_path / "bert", name="words", limits={"max_bytes": 4})
    assert stated(models) == {"max_bytes": 4}
