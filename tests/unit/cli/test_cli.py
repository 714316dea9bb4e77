"""The command line: errors in one line, exit codes, JSON that is only JSON."""

from __future__ import annotations

import json
import math
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector.cli import run
from connector.cli.output import note, print_json, print_rows
from connector.ingest.dead_letters import SCHEMA

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def repository(tmp_path: Path, capsys: Captured) -> Path:
    folder = tmp_path / "shop"
    assert run(["init", str(folder)]) == 0
    capsys.readouterr()
    return folder


def error_line(capsys: Captured) -> str:
    """The one line on standard error; nothing may be on standard output."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    "arguments",
    [
        ["apply"],
        ["spaces"],
        ["ingest", "items.parquet"],
        ["search", "item_text", "--text", "red"],
        ["encoders", "list"],
        ["dead-letters"],
    ],
)
def test_no_repository(arguments: list[str], tmp_path: Path, capsys: Captured) -> None:
    assert run([*arguments, "--repo", str(tmp_path)]) == 2
    assert "no feature_store.yaml" in error_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_the_repository_may_come_from_the_environment(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONNECTOR_REPO", str(tmp_path / "elsewhere"))
    assert run(["spaces"]) == 2
    assert "elsewhere" in error_line(capsys)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("connector.yaml", "triton: {mode: fast}", "triton.mode"),
        ("connector.yaml", "a: [", "not readable as YAML"),
        ("feature_store.yaml", "project: [", "feature_store.yaml"),
        ("feature_store.yaml", "", "feature_store.yaml"),
        ("feature_store.yaml", "project: p\nprovider: local\nregistry: r.db\n", "online_store.type"),
        ("feature_store.yaml", "project: p\nprovider: nowhere\nregistry: r.db\n", "feature_store.yaml"),
    ],
)
def test_bad_configuration(repository: Path, capsys: Captured, file: str, text: str, message: str) -> None:
    (repository / file).write_text(text)
    assert run(["apply", "--repo", str(repository)]) == 2
    assert message in error_line(capsys)


def test_nothing_applied_yet(repository: Path, capsys: Captured) -> None:
    for arguments in (["spaces"], ["search", "item_text", "-t", "red"]):
        assert run([*arguments, "--repo", str(repository)]) == 2
        assert "connector apply" in error_line(capsys)
    assert not (repository / "data").exists()


def test_a_repository_file_that_does_not_import(repository: Path, capsys: Captured) -> None:
    (repository / "features.py").write_text("raise ValueError('no')")
    assert run(["apply", "--repo", str(repository)]) == 2
    assert "features.py:1: ValueError: no" in error_line(capsys)


def test_debug_shows_the_traceback(tmp_path: Path, capsys: Captured) -> None:
    assert run(["spaces", "--repo", str(tmp_path), "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["search"], ["search", "a", "-k", "x"], ["search", "a=b", "-t", "x"]]
)
def test_usage_errors(arguments: list[str], capsys: Captured) -> None:
    assert run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_help_and_version(capsys: Captured) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip()
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("init", "apply", "up", "down", "status", "ingest", "search", "spaces", "encoders", "pretrain"):
        assert command in shown


def test_init_says_what_it_made(tmp_path: Path, capsys: Captured) -> None:
    catalogue = tmp_path / "goods.parquet"
    pq.write_table(
        pa.table(
            {"good_id": ["a", "b"], "title": ["a red dress", "a blue shoe"], "Größe": [1, 2], "v": [[1.0], [2.0]]}
        ),
        catalogue,
    )
    assert run(["init", str(tmp_path / "r"), "--catalogue", str(catalogue), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["entity"], made["key"], made["spaces"]) == ("good", "good_id", ["good_text"])
    assert made["renamed"] == {"gre": "Größe"}
    assert list(made["left_out"]) == ["v"]
    assert run(["init", str(tmp_path / "r")]) == 2
    assert "already has" in error_line(capsys)
    assert run(["init", str(tmp_path / "s"), "--catalogue", str(tmp_path / "no.parquet")]) == 2
    assert "no.parquet" in error_line(capsys)
    assert not (tmp_path / "s").exists()


def test_dead_letters(repository: Path, capsys: Captured) -> None:
    repo = ["--repo", str(repository)]
    assert run(["dead-letters", *repo, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    folder = repository / "data" / "dead_letters"
    folder.mkdir(parents=True)
    row = {"run_id": "r1", "row": 7, "key": "k\n7", "space": "item_image", "column": "image", "kind": "media"}
    pq.write_table(pa.Table.from_pylist([{**row, "reason": "truncated"}] * 3, schema=SCHEMA), folder / "r1.parquet")
    assert run(["dead-letters", *repo, "--limit", "2"]) == 0
    out, err = capsys.readouterr()
    assert "truncated" in out
    assert "k 7" in out
    assert "1 more" in err
    assert run(["dead-letters", "r1", *repo, "--json"]) == 0
    assert [each["row"] for each in json.loads(capsys.readouterr().out)] == [7, 7, 7]
    assert run(["dead-letters", "r2", *repo]) == 2
    assert "no run 'r2'" in error_line(capsys)


def test_json_is_strict_and_plain(capsys: Captured) -> None:
    print_json(
        {
            "a": math.nan,
            "b": np.float32(0.5),
            "c": datetime(2024, 1, 1, tzinfo=timezone.utc),
            "d": b"\xff",
            "e": Path("x"),
        }
    )
    assert json.loads(capsys.readouterr().out) == {
        "a": None,
        "b": 0.5,
        "c": "2024-01-01T00:00:00+00:00",
        "d": "/w==",
        "e": "x",
    }


def test_tables_show_what_is_there_and_no_markup(capsys: Captured) -> None:
    print_rows([{"name": "[red]a[/red]\nb", "n": 1, "x": None}], ["name", "n", "x"])
    out = capsys.readouterr().out
    assert "[red]a[/red] b" in out
    assert "–" in out


def test_what_a_catalogue_holds_does_not_write_to_the_terminal(capsys: Captured) -> None:
    hostile = "\x1b[2J\x1b]0;pwned\x07\x9b1mdress"
    print_rows([{"title": hostile, "tags": [hostile]}], ["title", "tags"])
    note(f"dead letter: {hostile}\nand more")
    printed = capsys.readouterr()
    assert "dress" in printed.out
    assert printed.err.endswith("dress\nand more\n")
    assert not any(c in printed.out + printed.err for c in "\x1b\x07\x9b")


def test_pretrain_names_what_is_wrong_with_a_spec(tmp_path: Path, capsys: Captured) -> None:
    assert run(["pretrain", str(tmp_path / "no.yaml")]) == 2
    assert "no.yaml" in error_line(capsys)
    (tmp_path / "job.yaml").write_text("out: o\npairs: [{path: p.parquet, text: ['a {label}']}]\nstepps: 3\n")
    assert run(["pretrain", str(tmp_path / "job.yaml")]) == 2
    assert "stepps" in error_line(capsys)
