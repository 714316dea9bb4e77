"""Films without a sound track, where an encoder of sounds is given films: a missing modality, and nothing broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import encoders
from connector.missing import MODALITIES
from connector.spaces import EmbeddingSpace, FieldSpec
from encoders import Encoder, EncoderContract
from tests.media_files import film
from tests.unit.encoders import tiny_models
from tests.unit.ingest.kit import Bench, make_space

KEYS = ["heard", "silent", "broken", "none", "heard too"]


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    tone = np.sin(np.arange(16_000, dtype=np.float32) / 9)
    clips = [film(sound=tone), film(), b"no film", None, film(sound=tone / 2)]
    return pa.table({"item_id": KEYS, "clip": pa.array(clips, pa.binary()), "title": ["a", "b", "c", "d", None]})


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoder]:
    """Words and sounds in one vector."""
    folder = tmp_path_factory.mktemp("fused")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        members = {"text": tiny_models.bert(folder / "bert"), "audio": tiny_models.audio(folder / "sounds")}
        encoders.export(tiny_models.fused(folder / "tower", **members), folder / "encoder", name="item")
        with encoders.load(folder / "encoder") as encoder:
            yield encoder


def ingest(tmp_path: Path, space: EmbeddingSpace, rows: pa.Table, given: Callable[[EncoderContract], Encoder]) -> Any:
    bench = Bench(tmp_path, space)
    report = bench.ingest(rows, encoder_for=given)
    return bench, report, report.views[space.name]


@pytest.mark.parametrize(("missing", "absent", "dead"), [("absent", 2, 1), ("error", 0, 3)])
def test_sounds(tmp_path: Path, rows: pa.Table, missing: Any, absent: int, dead: int) -> None:
    with encoders.load("audio") as audio:
        space = make_space("item_sound", modality="audio", inputs=("clip",), dimension=audio.contract.dimension)
        space = replace(space, missing=missing, contract=audio.contract, queries=(audio.contract,))
        bench, report, view = ingest(tmp_path, space, rows, lambda _: audio)
    assert (view.written, view.absent, view.dead) == (2, absent, dead)
    assert list(bench.rows("item_sound")) == ["heard", "heard too"]
    assert report.reasons == ({"missing modality": 2} if dead == 3 else {}) | {"not encodable": 1}


@pytest.mark.parametrize("missing", ["absent", "error", "impute"])
def test_items_of_several_parts(tmp_path: Path, rows: pa.Table, fused: Encoder, missing: Any) -> None:
    contract = fused.contract
    space = replace(
        make_space("whole", modality="fused", inputs=("title", "clip"), dimension=contract.dimension),
        contract=contract,
        queries=(contract,),
        parts=(("text", ("title",)), ("audio", ("clip",))),
        fields=(FieldSpec(MODALITIES, "String"),),
        missing=missing,
    )
    bench, _, view = ingest(tmp_path, space, rows, lambda _: fused)
    written = {"absent": ["heard"], "error": ["heard"], "impute": ["heard", "silent", "none", "heard too"]}[missing]
    assert sorted(bench.rows("whole")) == sorted(written)
    assert (view.written, view.absent, view.dead) == {"absent": (1, 3, 1), "error": (1, 0, 4), "impute": (4, 0, 1)}[
        missing
    ]
    if missing == "impute":
        alone = fused.encode([{"text": "b"}])[0]
        assert bench.rows("whole")["silent"][MODALITIES] == bench.rows("whole")["none"][MODALITIES]
        np.testing.assert_allclose(bench.rows("whole")["silent"][space.vector_field], alone, atol=1e-5)
