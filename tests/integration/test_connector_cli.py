"""The whole path by the command line: init, apply, ingest, spaces, search, dead letters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import encoders
from connector.cli import run
from tests.ready_shop import QUERY, ROWS, best, cosines, goods, write_repository

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an applied and filled repository `shop`, `goods.parquet` and `query.npy`."""
    folder = tmp_path_factory.mktemp("cli")
    write_repository(folder / "shop")
    pq.write_table(goods(), folder / "goods.parquet")
    np.save(folder / "query.npy", QUERY)
    (folder / "query.json").write_text(json.dumps(QUERY.tolist()))
    assert run(["apply", "--repo", str(folder / "shop")]) == 0
    assert run(["ingest", str(folder / "goods.parquet"), "-e", "item", "--repo", str(folder / "shop")]) == 0
    return folder


def answer(capsys: Captured, *arguments: str) -> Any:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_spaces(files: Path, capsys: Captured) -> None:
    listed = answer(capsys, "spaces", "--count", "--repo", str(files / "shop"))
    assert [(space["name"], space["rows"]) for space in listed] == [
        ("item_shape", ROWS),
        ("item_sound", ROWS - ROWS // 5),
        ("user_taste", 0),
    ]
    assert run(["spaces", "--repo", str(files / "shop")]) == 0
    assert "item_shape" in capsys.readouterr().out


@pytest.mark.parametrize("query", ["query.npy", "query.json"])
def test_search(files: Path, capsys: Captured, query: str) -> None:
    repo = ["--repo", str(files / "shop")]
    rows = answer(capsys, "search", "item_shape", "--vector", str(files / query), "-k", "3", *repo)
    assert [row["item_id"] for row in rows] == [hit.key for hit in best(cosines(QUERY))[:3]]
    assert rows[0]["rank"] == 1
    assert rows[0]["added"].startswith("2024-01-")


def test_search_with_everything(files: Path, capsys: Captured) -> None:
    arguments = ["search", "item_shape=0.7", "item_sound=0.3", "--item", "i01", "-k", "4", "--where", "kind = 'cup'"]
    arguments += ["--fusion", "score", "--field", "kind", "--feature", "item_content:title", "--param", "ef=200"]
    rows = answer(capsys, *arguments, "--repo", str(files / "shop"))
    assert len(rows) == 4
    assert {row["kind"] for row in rows} == {"cup"}
    assert all(row["title"] == f"thing {int(row['item_id'][1:])}" for row in rows)
    assert set(rows[0]) == {
        "item_id", "rank", "score", "kind", "title",
        "item_shape.rank", "item_shape.score", "item_sound.rank", "item_sound.score",
    }  # fmt: skip


def test_a_table_for_people(files: Path, capsys: Captured) -> None:
    capsys.readouterr()
    assert run(["search", "item_shape", "--item", "i01", "-k", "2", "--repo", str(files / "shop")]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["rank", "item_id", "score", "kind", "price", "added"]
    assert len(out.splitlines()) == 3
    assert "2 found in" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "item_shap", "--item", "i01"], "did you mean item_shape"),
        (["search", "item_shape", "--item", "i01", "--where", "price <"], "item_shape"),
        (["search", "item_shape", "--item", "i01", "--where", "prices < 3"], "prices"),
        (["search", "item_shape"], "give one query"),
        (["search", "item_shape", "--text", "cup"], "cannot be queried by text"),
        (["search", "item_shape", "--image", "no.jpg"], "no.jpg"),
        (["search", "item_shape", "--vector", "no.npy"], "no.npy"),
        (["search", "item_shape", "--item", "i01", "-k", "0"], "k must be"),
        (["ingest", "no.parquet", "-e", "item"], "no.parquet"),
        (["ingest", "{goods}", "-e", "items"], "did you mean item"),
        (["ingest", "{goods}", "-e", "item", "--map", "item_id=nothing"], "nothing"),
        (["ingest", "{goods}"], "entity="),
    ],
)
def test_one_clear_line_and_nothing_written(files: Path, capsys: Captured, arguments: list[str], message: str) -> None:
    before = sorted(str(path) for path in (files / "shop" / "data").rglob("*.parquet"))
    capsys.readouterr()
    filled = [argument.format(goods=files / "goods.parquet") for argument in arguments]
    assert run([*filled, "--repo", str(files / "shop")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(str(path) for path in (files / "shop" / "data").rglob("*.parquet")) == before


def test_bad_rows_are_a_warning_and_under_strict_an_error(tmp_path: Path, capsys: Captured) -> None:
    repo = ["--repo", str(write_repository(tmp_path / "shop"))]
    assert run(["apply", *repo]) == 0
    bad = goods().slice(1, 3).to_pylist()
    bad[1]["shape"] = [1.0]
    file = tmp_path / "bad.jsonl"
    file.write_text("".join(json.dumps({**row, "added": row["added"].isoformat()}) + "\n" for row in bad))
    capsys.readouterr()
    assert run(["ingest", str(file), "-e", "item", *repo, "--strict"]) == 2
    assert "error: " in capsys.readouterr().err
    assert answer(capsys, "spaces", "--count", *repo)[0]["rows"] == 0
    assert run(["ingest", str(file), "-e", "item", *repo]) == 0
    assert "warning: 1 rows were left out" in capsys.readouterr().err
    letters = answer(capsys, "dead-letters", *repo)
    assert [(letter["key"], letter["space"]) for letter in letters] == [("i02", "item_shape")]
    assert answer(capsys, "dead-letters", "--runs", *repo)[0]["rows"] == 1


RAW = """
from feast import Entity, ValueType

from connector import embedding_view
from encoders.contract import EncoderContract

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
words = EncoderContract(
    name="words", version=3, modality="text", dimension=8, metric="COSINE", pooling="mean", normalized=True,
    max_input=16, weights_hash="w", preprocessing_hash="p",
)
item_text = embedding_view("item_text", entity=item, contract=words, inputs="title")
"""


def test_an_encoder_that_was_not_published(tmp_path: Path, capsys: Captured) -> None:
    folder = write_repository(tmp_path / "shop", features=RAW)
    repo = ["--repo", str(folder)]
    assert run(["apply", *repo]) == 1
    remedy = "connector encoders publish SOURCE --name words --version 3"
    assert remedy in capsys.readouterr().err
    pq.write_table(goods(), tmp_path / "goods.parquet")
    for arguments in (["ingest", str(tmp_path / "goods.parquet")], ["search", "item_text", "-t", "cup"]):
        assert run([*arguments, *repo]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "words/3" in err
    assert [path.name for path in (folder / "data" / "item_text__v3").iterdir()] == ["0-schema.parquet"]


def test_the_installed_command_prints_one_line_when_milvus_is_down(tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "shop", uri="http://127.0.0.1:9")
    command = Path(sys.executable).with_name("connector")
    done = subprocess.run(
        [str(command), "apply", "--repo", str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("error: ")
    assert "127.0.0.1:9" in lines[-1]
    assert len(lines) == 1
    assert not (folder / "data").exists()


def test_both_halves_of_a_checkpoint(
    files: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.encoders import tiny_models

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = str(tiny_models.clip(tmp_path / "clip"))
    folder = write_repository(tmp_path / "shop")
    command = ["encoders", "publish", source, "--repo", str(folder)]
    halves = [
        answer(capsys, *command, "--name", "clip"),
        answer(capsys, *command, "--name", "clip_words", "--modality", "text"),
        answer(
            capsys, *command, "--name", "clip_small", "--modality", "text",
            "--int8", str(files / "goods.parquet"), "--column", "title",
        ),
    ]  # fmt: skip
    image, words, small = (encoders.EncoderContract.from_json(half["contract"]) for half in halves)
    assert (image.modality, words.modality, small.modality) == ("image", "text", "text")
    encoders.require_shared_space(image, words)
    encoders.require_shared_space(image, small)
    listed = answer(capsys, "encoders", "list", "--repo", str(folder))
    assert {row["name"] for row in listed} >= {"clip", "clip_words", "clip_small"}
    assert run([*command, "--name", "clip", "--version", "2", "--modality", "text"]) == 2
    assert "publish it under a name of its own" in capsys.readouterr().err


def test_an_encoder_in_8_bits(files: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.encoders import tiny_models

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = str(tiny_models.bert(tmp_path / "bert"))
    folder = write_repository(tmp_path / "shop")
    command = ["encoders", "publish", source, "--name", "words", "--version", "2", "--repo", str(folder)]
    catalogue = str(files / "goods.parquet")
    assert run([*command, "--int8", catalogue, "--column", "titel"]) == 2
    assert "no column 'titel'" in capsys.readouterr().err
    published = answer(capsys, *command, "--int8", catalogue, "--column", "title")
    assert published["int8"]["rows"] == ROWS
    assert published["int8"]["cosine"] > 0.9
    assert run([*command, "--int8", catalogue, "--column", "title"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(f"int8 against float32 on {ROWS} inputs: cosine ")
    assert run(command) == 2  # float32 is another encoder, and this version is taken
    assert "which is not words/2" in capsys.readouterr().err
