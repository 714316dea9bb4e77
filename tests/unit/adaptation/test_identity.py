from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector.adaptation import load_spec
from connector.adaptation.identity import identity_of
from connector.adaptation.spec import parse_spec

SPEC = """
job: contrastive
out: out
text_encoder: words
pairs: [{path: data/shop.parquet, text: ["{name}"]}]
tower: {kind: pretrained, source: image}
steps: 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job's folder: a spec, a catalogue, and what looks like an encoder."""
    made = tmp_path / "job"
    (made / "data").mkdir(parents=True)
    (made / "words").mkdir()
    (made / "job.yaml").write_text(SPEC)
    _catalogue(made, 100)
    (made / "words" / "tower.json").write_text("{}")
    (made / "words" / "tower.safetensors").write_bytes(bytes(3 << 20))
    return made


def _catalogue(folder: Path, rows: int) -> None:
    names = [f"thing {number}" for number in range(rows)]
    pq.write_table(pa.table({"name": names, "image": [b"x"] * rows}), folder / "data" / "shop.parquet")


def identity(folder: Path) -> tuple[str, dict[str, str]]:
    return identity_of(load_spec(folder / "job.yaml"))


def test_it_names_what_lies_here_and_nothing_else(folder: Path) -> None:
    assert set(identity(folder)[1]) == {"pairs.0.path", "text_encoder"}


def test_a_folder_may_be_moved_and_its_spec_be_named_by_any_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = identity(folder)
    monkeypatch.chdir(folder)
    assert identity(Path()) == first
    monkeypatch.chdir(tmp_path)
    assert identity(Path("job")) == first
    shutil.move(folder, tmp_path / "elsewhere")
    assert identity(tmp_path / "elsewhere") == first


def test_files_touched_are_the_same_files(folder: Path) -> None:
    first = identity(folder)
    os.utime(folder / "data" / "shop.parquet", (0, 0))
    assert identity(folder) == first


def test_a_row_more_is_other_data(folder: Path) -> None:
    first = identity(folder)
    _catalogue(folder, 101)
    second = identity(folder)
    assert first[0] == second[0]
    assert [name for name in first[1] if first[1][name] != second[1][name]] == ["pairs.0.path"]


@pytest.mark.parametrize("place", [0, -1])
def test_another_encoder_in_the_folder_is_noticed(folder: Path, place: int) -> None:
    first = identity(folder)
    weights = bytearray((folder / "words" / "tower.safetensors").read_bytes())
    weights[place] = 1
    (folder / "words" / "tower.safetensors").write_bytes(bytes(weights))
    assert identity(folder)[1]["text_encoder"] != first[1]["text_encoder"]


def test_another_encoder_to_be_drawn_towards_is_noticed(folder: Path) -> None:
    def of_spec() -> dict[str, str]:
        source = {"path": str(folder / "data/shop.parquet"), "audio": "name", "towards": {"image": "image"}}
        values = {"out": "o", "pairs": [source], "towards_encoder": str(folder / "words"), "steps": 1}
        return identity_of(parse_spec({**values, "tower": {"kind": "new_audio"}}))[1]

    first = of_spec()
    (folder / "words" / "tower.safetensors").write_bytes(b"\1" + bytes(3 << 20))
    assert of_spec()["towards_encoder"] != first["towards_encoder"]


def test_a_part_more_in_a_folder_is_noticed(folder: Path) -> None:
    def of_parts() -> dict[str, str]:
        source = {"path": str(folder / "data"), "text": ["{name}"]}
        return identity_of(parse_spec({"out": "o", "pairs": [source], "steps": 1}))[1]

    first = of_parts()
    shutil.copy(folder / "data" / "shop.parquet", folder / "data" / "more.parquet")
    assert of_parts() != first


def test_media_in_a_folder_are_known_by_name_and_size(folder: Path) -> None:
    """There may be a million of them."""

    def of_parts() -> dict[str, str]:
        source = {"path": str(folder / "data"), "text": ["{name}"]}
        return identity_of(parse_spec({"out": "o", "pairs": [source], "steps": 1}))[1]

    (folder / "data" / "0.jpg").write_bytes(b"abc")
    first = of_parts()
    (folder / "data" / "0.jpg").write_bytes(b"abd")
    assert of_parts() == first
    (folder / "data" / "0.jpg").write_bytes(b"abcd")
    assert of_parts() != first


def test_ids_and_defaults_are_part_of_the_spec(folder: Path) -> None:
    def told(encoder: str) -> tuple[str, dict[str, str]]:
        source: dict[str, Any] = {"path": str(folder / "data" / "shop.parquet"), "text": ["{name}"]}
        values = {"out": "o", "pairs": [source], "steps": 1, "text_encoder": encoder}
        return identity_of(parse_spec(values))

    assert told("text")[0] != told("sentence-transformers/all-MiniLM-L12-v2")[0]
    assert set(told("text")[1]) == {"pairs.0.path"}


def test_a_resumed_job_refuses_a_catalogue_that_grew(tmp_path: Path) -> None:
    from connector.adaptation import pretrain
    from connector.errors import ConfigurationError

    def write(rows: int) -> None:
        vectors = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32)
        table = {"item_id": [f"i{row}" for row in range(rows)], "vector": vectors.tolist()}
        pq.write_table(pa.table(table), tmp_path / "items.parquet")

    values = {
        "job": "semantic_ids",
        "out": str(tmp_path / "out"),
        "content": {"path": str(tmp_path / "items.parquet")},
        "levels": 2,
        "size": 4,
        "latent": 4,
        "hidden": 8,
        "batch_size": 16,
        "steps": 4,
        "checkpoint_every": 2,
    }
    write(60)
    pretrain(parse_spec(values), until=2, show=False)
    write(61)
    with pytest.raises(ConfigurationError, match=r"other data: content\.path"):
        pretrain(parse_spec(values), resume=True, show=False)
    write(60)
    assert pretrain(parse_spec(values), resume=True, show=False).steps == 4


def test_files_of_a_glob_are_looked_at_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    spec = folder / "job.yaml"
    spec.write_text(SPEC.replace("data/shop.parquet", "data/*.parquet"))
    first = identity(folder)
    assert "pairs.0.path" in first[1]
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    assert identity(moved) == first
    (moved / "data" / "more.txt").write_text("no part of it")
    assert identity(moved) == first
    _catalogue(moved, 101)
    spec_hash, inputs = identity(moved)
    assert spec_hash == first[0]
    assert inputs["pairs.0.path"] != first[1]["pairs.0.path"]
    shutil.copy(folder / "data" / "shop.parquet", folder / "data" / "second.parquet")
    assert identity(folder)[1]["pairs.0.path"] != first[1]["pairs.0.path"]


def test_a_glob_that_finds_nothing_is_left_to_whoever_reads_it(folder: Path) -> None:
    (folder / "job.yaml").write_text(SPEC.replace("data/shop.parquet", "data/*.csv"))
    assert set(identity(folder)[1]) == {"text_encoder"}
