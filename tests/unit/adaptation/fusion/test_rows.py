"""Rows of a fusion job's catalogue: which are used, which are left out and counted, and what a resumed job must see."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector.adaptation import pretrain
from connector.adaptation.fusion.members import member_vectors
from connector.adaptation.fusion.spec import FusionSpec
from connector.adaptation.publishing import require_target
from connector.errors import ConfigurationError
from connector.serving import publish
from tests.media_files import film
from tests.unit.encoders import tiny_models

FusionMaker = Callable[..., FusionSpec]


def parts(pairs_file: Path, rows: int) -> pa.Table:
    return pq.read_table(pairs_file).slice(0, rows)


def test_parts_of_a_catalogue_may_lack_columns(make_fusion: FusionMaker, pairs_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "items"
    folder.mkdir()
    table = parts(pairs_file, 24)
    pq.write_table(table.append_column("kind", pa.array(["k"] * 12 + ["l"] * 12)), folder / "a.parquet")
    pq.write_table(table, folder / "b.parquet")
    spec = make_fusion(catalogue={"path": str(folder), "group": ["kind"]})
    found = member_vectors(spec, Path(spec.out))
    # Rows of no group are groups of their own.
    assert len(found.groups) == 48
    assert len(set(found.groups.tolist())) == 2 + 24


def test_rows_that_cannot_be_parsed_are_counted(make_fusion: FusionMaker, pairs_file: Path, tmp_path: Path) -> None:
    lines = []
    for row, record in enumerate(parts(pairs_file, 20).to_pylist()):
        (tmp_path / f"{row}.png").write_bytes(record["image"])
        lines.append(json.dumps({**record, "image": f"{row}.png"}))
    lines[7] = lines[7][:-9]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    spec = make_fusion(catalogue={"path": str(tmp_path / "items.jsonl")})
    seen: list[int] = []
    found = member_vectors(spec, Path(spec.out), seen.append)
    assert (len(found.groups), sum(found.skipped.values()), sum(seen)) == (19, 1, 20)
    assert next(iter(found.skipped)).startswith("row: ")


def test_a_film_without_a_sound_track_lacks_a_part(make_fusion: FusionMaker, tmp_path: Path) -> None:
    tone = np.sin(np.arange(16_000, dtype=np.float32) / 9)
    clips = [film(sound=tone / (1 + row) if row % 2 else None, seed=row) for row in range(12)]
    names = [f"film {row}" for row in range(12)]
    pq.write_table(pa.table({"name": names, "clip": pa.array(clips, pa.binary())}), tmp_path / "films.parquet")
    members: dict[str, Any] = {
        "text": {"encoder": "text", "columns": ["name"]},
        "audio": {"encoder": "audio", "columns": ["clip"]},
    }
    spec = make_fusion(catalogue={"path": str(tmp_path / "films.parquet")}, members=members)
    found = member_vectors(spec, Path(spec.out))
    assert not found.skipped
    assert found.present[:, 1].tolist() == [bool(row % 2) for row in range(12)]


def test_other_rows_are_other_data(make_fusion: FusionMaker, pairs_file: Path, tmp_path: Path) -> None:
    records = parts(pairs_file, 40).to_pylist()
    for row, record in enumerate(records):
        (tmp_path / f"{row}.png").write_bytes(record["image"])
        record["image"] = f"{row}.png"
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "items.parquet")
    spec = make_fusion(catalogue={"path": str(tmp_path / "items.parquet")}, steps=4, checkpoint_every=2)
    pretrain(spec, show=False, until=2)
    (tmp_path / "3.png").write_bytes(b"broken since")
    with pytest.raises(ConfigurationError, match="was made from other data: the list of usable rows"):
        pretrain(spec, show=False, resume=True)


def test_a_member_whose_place_is_taken_is_known_before_training(make_fusion: FusionMaker, tmp_path: Path) -> None:
    models, tower = tmp_path / "models", tiny_models.vit(tmp_path / "pictures")
    members: dict[str, Any] = {
        "text": {"encoder": "text", "columns": ["colour", "form"]},
        "image": {"encoder": str(tower), "columns": ["image"]},
    }
    spec = make_fusion(members=members, towards=None)
    publish(models, tower, name="pictures")
    require_target(models, spec, "item")
    publish(models, tiny_models.vision(tmp_path / "other", "dinov2"), name="pictures", version=2)
    members["image"]["version"] = 2
    taken = make_fusion(members=members, towards=None)
    with pytest.raises(
        ConfigurationError, match=r"members.image: .*pictures/2 holds another encoder .* say version: 3 f"
    ):
        require_target(models, taken, "item")


@pytest.mark.parametrize(
    ("name", "head", "message"),
    [
        ("words", "item", "members.image: .*words holds encoders of text; give .* another name:"),
        ("item", "item", "members.image is called 'item' already; publish the whole under another name"),
    ],
)
def test_a_name_that_will_not_do_is_known_before_training(
    make_fusion: FusionMaker, tmp_path: Path, name: str, head: str, message: str
) -> None:
    publish(tmp_path / "models", tiny_models.bert(tmp_path / "bert"), name="words")
    members: dict[str, Any] = {
        "text": {"encoder": "text", "columns": ["colour", "form"]},
        "image": {"encoder": "image", "columns": ["image"], "name": name, "version": 2},
    }
    with pytest.raises(ConfigurationError, match=message):
        require_target(tmp_path / "models", make_fusion(members=members), head)
