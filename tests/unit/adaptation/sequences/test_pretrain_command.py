from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from connector.adaptation import JobSpec
from connector.adaptation.publishing import publish_next
from connector.cli import run
from tests.unit.encoders import tiny_models


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
    assert run(["pretrain", str(file), "--publish", "x"]) == 2
    assert "writes no encoder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_each_new_encoder_is_the_next_version(tmp_path: Path) -> None:
    first = tiny_models.sequence(tmp_path / "a")
    repository = tmp_path / "models"
    assert [publish_next(repository, tower, "next").version for tower in (first, first)] == [1, 1]
    second = tiny_models.sequence(tmp_path / "b", causal=False)
    assert publish_next(repository, second, "next").version == 2
