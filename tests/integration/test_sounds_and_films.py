"""Sounds and films from a catalogue into their spaces, and found again by words, sounds and films."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector import Connector
from connector.cli import run
from connector.errors import QueryError
from connector.scaffold import init_repository
from examples.demo.sounds import captioned_sounds
from tests.media_files import film
from tests.ready_shop import FEATURE_STORE

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CONNECTOR_DATA", ROOT.parent / "shared" / "data"))
FEATURES = """\
from feast import Entity, Field, ValueType
from feast.types import String

from connector import embedding_view
from encoders import default_contract

clip = Entity(name="clip", join_keys=["clip_id"], value_type=ValueType.STRING)
TEXT = default_contract("text")
fields = [Field(name="name", dtype=String)]
clip_sound = embedding_view(
    "clip_sound", entity=clip, contract=default_contract("audio"), inputs="audio", queries=[TEXT], fields=fields
)
clip_film = embedding_view(
    "clip_film", entity=clip, contract=default_contract("video"), inputs="video", queries=[TEXT], fields=fields
)
"""
ROWS = 40


def write_repository(folder: Path) -> Path:
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(FEATURE_STORE.format(uri="data/milvus.db"))
    (folder / "connector.yaml").write_text("triton: {mode: process}\ningest: {max_media_bytes: 200000}\n")
    (folder / "features.py").write_text(FEATURES)
    return folder


def clips(media: Path) -> pa.Table:
    """Forty sounds as bytes; every fourth has a film beside it, as a path; one of each is broken, one is too large."""
    sounds = captioned_sounds(5, ROWS)
    paths: list[str | None] = [None] * ROWS
    for row in range(0, ROWS, 4):
        paths[row] = f"{row}.mp4"
        (media / f"{row}.mp4").write_bytes(film(frames=8, size=(64, 48), seed=row))
    audio: list[bytes | None] = sounds["audio"].to_pylist()
    audio[1], audio[2], audio[3] = None, b"RIFF no sound", (audio[3] or b"")[:2_000]
    (media / "4.mp4").write_bytes(b"no film")
    (media / "8.mp4").write_bytes(b"\0" * 200_001)
    return pa.table(
        {
            "clip_id": [f"c{row:02d}" for row in range(ROWS)],
            "name": sounds["name"],
            "audio": pa.array(audio, pa.binary()),
            "video": paths,
        }
    )


@pytest.fixture(scope="module", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Exports that these tests provoke stay in a folder of theirs, and happen once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Connector, pa.Table]]:
    root = tmp_path_factory.mktemp("clips")
    (root / "media").mkdir()
    table = clips(root / "media")
    with Connector(write_repository(root / "shop")) as connector:
        assert set(connector.apply().encoders.values()) == {"published"}
        report = connector.ingest(table, entity="clip", media_root=root / "media")
        assert {name: view.written for name, view in report.views.items()} == {"clip_sound": 37, "clip_film": 8}
        assert report.dead_letters == 4
    # Before the store is opened again: one process at a time has it.
    (root / "query.wav").write_bytes(table["audio"][11].as_py())
    asked = ["search", "clip_sound", "--audio", str(root / "query.wav"), "-k", "2", "--repo", str(root / "shop")]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run([*asked, "--json"]) == 0
    (root / "found.json").write_text(printed.getvalue())
    with Connector(root / "shop") as connector:
        yield connector, table


@pytest.fixture(scope="module")
def commanded(shop: tuple[Connector, pa.Table]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((shop[0].path.parent / "found.json").read_text())
    return found


def test_a_repository_that_is_made_for_such_a_catalogue(shop: tuple[Connector, pa.Table], tmp_path: Path) -> None:
    written = init_repository(tmp_path / "made", catalogue=shop[1])
    (written.folder / "connector.yaml").write_text("triton: {mode: process}\n")
    with Connector(written.folder) as connector:
        assert connector.apply().problems == []
        assert set(connector.spaces()) == {"clip_audio", "clip_video"}
        report = connector.ingest(shop[1].slice(8, 4), media_root=shop[0].path.parent / "media")
        assert {name: view.written for name, view in report.views.items() if name != "clip_content"} == {
            "clip_audio": 4,
            "clip_video": 0,
        }
        found = connector.search("clip_audio", audio=shop[1]["audio"][11].as_py(), k=1)
        assert found["clip_id"].to_pylist() == ["c11"]


def test_every_bad_row_is_a_dead_letter_with_its_reason(shop: tuple[Connector, pa.Table]) -> None:
    connector, _ = shop
    (file,) = connector.dead_letter_folder.glob("*.parquet")
    reasons = {(row["key"], row["space"]): row["reason"] for row in pq.read_table(file).to_pylist()}
    assert sorted(reasons) == [
        ("c02", "clip_sound"),
        ("c03", "clip_sound"),
        ("c04", "clip_film"),
        ("c08", "clip_film"),
    ]
    assert "ends early" in reasons["c03", "clip_sound"]
    assert "max_media_bytes" in reasons["c08", "clip_film"]


def test_a_sound_finds_itself_and_words_find_sounds(shop: tuple[Connector, pa.Table], tmp_path: Path) -> None:
    connector, table = shop
    content = table["audio"][11].as_py()
    found = connector.search("clip_sound", audio=content, k=3)
    assert found["clip_id"][0].as_py() == "c11"
    assert found["score"][0].as_py() > 0.999
    (tmp_path / "query.wav").write_bytes(content)
    assert connector.search("clip_sound", audio=tmp_path / "query.wav", k=3) == found
    names = set(table["name"].to_pylist())
    assert {"white noise", "rising siren"} <= names
    for name, words in (("white noise", "hissing white noise"), ("rising siren", "a rising siren sweep")):
        assert name in connector.search("clip_sound", text=words, k=3)["name"].to_pylist()


def test_a_film_finds_itself_and_both_are_asked_at_once(shop: tuple[Connector, pa.Table]) -> None:
    connector, table = shop
    content = film(frames=8, size=(64, 48), seed=12)
    found = connector.search("clip_film", video=content, k=2)
    assert found["clip_id"][0].as_py() == "c12"
    both = connector.search(["clip_film", "clip_sound"], video=content, audio=table["audio"][12].as_py(), k=5)
    assert both["clip_id"][0].as_py() == "c12"
    assert both["clip_film.rank"][0].as_py() == both["clip_sound.rank"][0].as_py() == 1
    assert connector.search("clip_film", text="a grey picture", k=2).num_rows == 2


@pytest.mark.parametrize(
    ("space", "query", "message"),
    [
        ("clip_sound", {"audio": b"no sound"}, "audio cannot be encoded: sound cannot be decoded"),
        ("clip_sound", {"audio": b"\0" * 200_001}, "max_media_bytes"),
        ("clip_film", {"video": b"no film"}, "video cannot be encoded: film cannot be decoded"),
        ("clip_film", {"audio": b"no film"}, "clip_film cannot be queried by audio; use text= or video="),
        ("clip_sound", {"audio": b"RIFF", "video": b"x"}, "video= would be left unused"),
    ],
)
def test_queries_that_cannot_be_answered(
    shop: tuple[Connector, pa.Table], space: str, query: dict[str, Any], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        shop[0].search(space, **query)


def test_the_command_takes_files(commanded: list[dict[str, Any]]) -> None:
    assert commanded[0]["clip_id"] == "c11"
    assert len(commanded) == 2


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; CONNECTOR_DATA names it")
def test_spoken_digits_and_signs_are_found(tmp_path: Path) -> None:
    digits = pq.read_table(DATA / "spoken_digits" / "clips.parquet")
    signs = pq.read_table(DATA / "signs" / "clips.parquet").slice(0, 4)
    stored, asked = digits.take(list(range(0, len(digits), 4))), digits.take(list(range(2, len(digits), 20)))
    count = len(stored)
    table = pa.table(
        {
            "clip_id": [f"c{row:03d}" for row in range(count)],
            "name": [str(digit) for digit in stored["digit"].to_pylist()],
            "audio": stored["audio"],
            "video": [*signs["video"].to_pylist(), *[None] * (count - 4)],
        }
    )
    folder = write_repository(tmp_path / "shop")
    (folder / "connector.yaml").write_text("triton: {mode: process}\n")
    with Connector(folder) as connector:
        connector.apply()
        report = connector.ingest(table, entity="clip")
        assert {name: view.written for name, view in report.views.items()} == {"clip_sound": count, "clip_film": 4}
        # Clips that were not stored find the digit they say; the encoder knows these speakers.
        hits = [
            str(row["digit"]) in connector.search("clip_sound", audio=row["audio"], k=3)["name"].to_pylist()
            for row in asked.to_pylist()
        ]
        assert np.mean(hits) > 0.8
        assert connector.search("clip_film", video=signs["video"][2].as_py(), k=1)["clip_id"][0].as_py() == "c002"
