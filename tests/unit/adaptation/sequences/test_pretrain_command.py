from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from connector.adaptation import JobSpec, pretrain
from connector.adaptation.publishing import publish_next, require_target
from connector.cli import run
from connector.errors import ConfigurationError, ConnectorError
from tests.unit.encoders import tiny_models

ROOT = Path(__file__).parents[4]


def test_the_command_runs_the_job_that_the_spec_names(
    make_job: Callable[..., JobSpec], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = make_job("masked_item", steps=3)
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(json.loads(spec.model_dump_json())))
    assert run(["pretrain", str(file), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["steps"] == 3
    assert Path(report["folder"], "model.safetensors").is_file()


def test_what_is_no_encoder_is_not_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("job: semantic_ids\nout: out\nsteps: 1\ncontent: {path: c.parquet}\n")
    assert run(["pretrain", str(file), "--publish", "x", "--repo", str(ROOT / "feature_repo")]) == 2
    assert "writes no encoder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_each_new_encoder_is_the_next_version(tmp_path: Path) -> None:
    first = tiny_models.sequence(tmp_path / "a")
    repository = tmp_path / "models"
    assert [publish_next(repository, tower, "next").version for tower in (first, first)] == [1, 1]
    second = tiny_models.sequence(tmp_path / "b", causal=False)
    assert publish_next(repository, second, "next").version == 2


def test_the_same_weights_in_another_network_are_the_next_version(tmp_path: Path) -> None:
    first, repository = tiny_models.bert(tmp_path / "a"), tmp_path / "models"
    assert publish_next(repository, first, "words").version == 1
    second = Path(shutil.copytree(first, tmp_path / "b"))
    config = json.loads((second / "config.json").read_text())
    (second / "config.json").write_text(json.dumps({**config, "num_attention_heads": 2}))
    assert publish_next(repository, second, "words").version == 2


def test_a_version_without_its_graph_is_taken(tmp_path: Path) -> None:
    """As in a checkout: described, and the graph still to be made."""
    repository, kept = tmp_path / "models", shutil.ignore_patterns("model.onnx", "model.contract")
    first, second = tiny_models.sequence(tmp_path / "a"), tiny_models.sequence(tmp_path / "b", causal=False)
    publish_next(tmp_path / "whole", first, "next")
    shutil.copytree(tmp_path / "whole", repository, ignore=kept)
    assert publish_next(repository, second, "next").version == 2
    assert publish_next(repository, first, "next").version == 1
    assert (repository / "next" / "1" / "model.onnx").is_file()
    (repository / "next" / "7").mkdir()
    assert publish_next(repository, tiny_models.sequence(tmp_path / "c", normalize=True), "next").version == 8


@pytest.mark.parametrize(
    ("name", "reason"),
    [("a/b", "cannot be a model's name"), ("image", "encodes image"), ("broken", "encoder.json"), ("fine", "written")],
)
def test_a_target_that_will_not_do_is_known_before_training(
    make_job: Callable[..., JobSpec], tmp_path: Path, name: str, reason: str
) -> None:
    repository, spec = tmp_path / "models", make_job("next_item")
    if name == "fine":
        repository.write_text("no folder")
    else:
        shutil.copytree(ROOT / "triton_models" / "image" / "1", repository / "image" / "1")
        (repository / "broken" / "1").mkdir(parents=True)
        (repository / "broken" / "1" / "encoder.json").write_text("{}")
    with pytest.raises(ConnectorError, match=reason):
        require_target(repository, spec, name)


def test_a_target_that_will_do_leaves_nothing_behind(make_job: Callable[..., JobSpec], tmp_path: Path) -> None:
    require_target(tmp_path / "models", make_job("next_item"), "next")
    assert list((tmp_path / "models").iterdir()) == []


def test_the_command_looks_at_its_target_first(
    make_job: Callable[..., JobSpec], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = make_job("next_item", steps=3)
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(json.loads(spec.model_dump_json())))
    assert run(["pretrain", str(file), "--publish", "a b", "--repo", str(ROOT / "feature_repo")]) == 2
    assert "cannot be a model's name" in capsys.readouterr().err
    assert not Path(spec.out).exists()


def test_a_finished_job_goes_on_for_longer(make_job: Callable[..., JobSpec]) -> None:
    pretrain(make_job("next_item", steps=2), show=False)
    changed = make_job("next_item", steps=4, learning_rate=0.001, checkpoint_every=1, patience=9)
    report = pretrain(changed, resume=True, show=False)
    assert report.steps == 4
    changes = "from step 2 on: steps 4 instead of 2, learning_rate 0.001 instead of 0.01"
    assert changes in str(report)
    assert f"was kept. Resumed {changes}" in (report.folder / "README.md").read_text()
    with pytest.raises(ConfigurationError, match=r"another spec.*only out, steps"):
        pretrain(make_job("next_item", steps=4, hidden=32, heads=2), resume=True, show=False)
