"""Ingest into a real Milvus Lite and a real offline log, killed on the way and run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector.ingest import IngestReport, ViewTarget, ingest_catalogue, read_dead_letters, space_target
from connector.stores import MilvusVectorStore, OfflineLog, collection_spec
from tests.unit.ingest.kit import DIMENSION, HashEncoder, make_content, make_space, spec_of

TEXT = make_space(fields={"price": "Float64"})
READY = make_space("item_ready", inputs=("vector",), ready=True)
ROWS = 600
PART_ROWS = 100


def catalogue(path: Path, rows: int = ROWS) -> Path:
    rng = np.random.default_rng(7)
    table = pa.table(
        {
            "item_id": [f"i{n}" for n in range(rows)],
            "title": [None if n % 50 == 7 else "BAD" if n % 100 == 3 else f"item {n}" for n in range(rows)],
            "price": [float("nan") if n % 10 == 0 else n / 7 for n in range(rows)],
            "vector": list(rng.standard_normal((rows, DIMENSION)).astype(np.float32)),
        }
    )
    pq.write_table(table, path)
    return path


def targets(folder: Path) -> list[ViewTarget]:
    return [space_target(space, OfflineLog(folder / "data" / space.collection)) for space in (TEXT, READY)]


def ingest(folder: Path, source: Any, **options: Any) -> IngestReport:
    """Parts are kept small, so that a small catalogue makes many of them."""
    store = MilvusVectorStore(str(folder / "milvus.db"))
    try:
        for space in (TEXT, READY):
            store.create(collection_spec(space))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("connector.ingest.writer.PART_ROWS", PART_ROWS)
            return ingest_catalogue(
                source,
                targets=targets(folder),
                encoder_for=HashEncoder,
                store=store,
                dead_letter_dir=folder / "data" / "dead_letters",
                **options,
            )
    finally:
        store.close()


def state(folder: Path, rows: int = ROWS) -> dict[str, Any]:
    """Everything that Milvus holds, times apart."""
    store = MilvusVectorStore(str(folder / "milvus.db"))
    try:
        keys = pa.table({"item_id": [f"i{n}" for n in range(rows)]})
        text = store.read(TEXT.collection, keys, ["price", TEXT.vector_field]).drop(["event_timestamp"])
        ready = store.read(READY.collection, keys, [READY.vector_field]).drop(["event_timestamp"])
        counts = [store.count(space.collection) for space in (TEXT, READY)]
        return {"counts": counts, "text": text.to_pylist(), "ready": ready.to_pylist()}
    finally:
        store.close()


def half_written(folder: Path) -> list[str]:
    return sorted(str(path) for path in (folder / "data").rglob("*.tmp"))


@pytest.fixture(scope="module")
def clean_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IngestReport]:
    folder = tmp_path_factory.mktemp("clean")
    return folder, ingest(folder, catalogue(folder / "c.parquet"))


def test_what_is_reported_is_what_milvus_and_the_log_hold(clean_run: tuple[Path, IngestReport]) -> None:
    folder, report = clean_run
    view = report.views["item_text"]
    assert (view.absent, view.dead) == (ROWS // 50, ROWS // 100)
    held = state(folder)
    assert held["counts"] == [view.written, report.views["item_ready"].written] == [ROWS - 18, ROWS]
    logs = {target.name: OfflineLog(folder / "data" / str(target.collection)) for target in targets(folder)}
    assert [logs["item_text"].count(), logs["item_ready"].count()] == held["counts"]
    assert held["text"][20]["price"] is None
    assert held["text"][21]["price"] == 3.0
    assert held["text"][3]["item_text_embedding"] is None
    encoded = HashEncoder(TEXT.contract).encode(["item 21"])[0]
    assert np.allclose(held["text"][21]["item_text_embedding"], encoded, atol=1e-6)
    assert report.dead_letter_path is not None
    assert read_dead_letters(report.dead_letter_path).num_rows == ROWS // 100
    assert half_written(folder) == []


def test_running_again_changes_nothing_but_times(tmp_path: Path) -> None:
    source = catalogue(tmp_path / "c.parquet")
    first = ingest(tmp_path, source)
    before = state(tmp_path)
    again = ingest(tmp_path, source)
    assert state(tmp_path) == before
    assert {n: (v.written, v.dead) for n, v in again.views.items()} == {
        n: (v.written, v.dead) for n, v in first.views.items()
    }


def test_an_older_run_is_stale(tmp_path: Path) -> None:
    source = catalogue(tmp_path / "c.parquet", 50)
    ingest(tmp_path, source, now=datetime(2026, 5, 1, tzinfo=timezone.utc))
    late = ingest(tmp_path, source, now=datetime(2026, 4, 1, tzinfo=timezone.utc))
    assert (late.views["item_ready"].written, late.views["item_ready"].stale) == (0, 50)


def test_a_plain_view_goes_to_milvus_as_well(tmp_path: Path) -> None:
    from dataclasses import replace

    target = replace(
        make_content({"title": "String", "n": "Int64", "tags": "Array(String)"}), log=OfflineLog(tmp_path / "log")
    )
    store = MilvusVectorStore(str(tmp_path / "milvus.db"))
    store.create(spec_of(target))
    table = pa.table({"item_id": ["a", "b"], "title": ["x" * 60_000, None], "n": [1, None], "tags": [["x"], None]})
    try:
        ingest_catalogue(
            table, targets=[target], encoder_for=HashEncoder, store=store, dead_letter_dir=tmp_path / "dead"
        )
        read = store.read(str(target.collection), pa.table({"item_id": ["b", "a"]}), ["title", "n", "tags"])
    finally:
        store.close()
    assert read["title"].to_pylist() == [None, "x" * 60_000]
    assert read["n"].to_pylist() == [None, 1]
    assert [cell is None for cell in read["tags"].to_pylist()] == [True, False]


CHILD = """
import sys
from pathlib import Path
from connector.config import IngestSettings
from tests.integration.test_ingest_milvus import ingest
class Watch:
    def start(self, total): pass
    def advance(self, rows): print("rows", flush=True)
print("started", flush=True)
ingest(Path(sys.argv[1]), sys.argv[2], settings=IngestSettings(batch_rows=16), progress=Watch())
"""


@pytest.mark.parametrize("lines", [1, 9, 24, 38])
def test_a_killed_run_leaves_nothing_that_the_next_one_trips_over(
    clean_run: tuple[Path, IngestReport], tmp_path: Path, lines: int
) -> None:
    source = clean_run[0] / "c.parquet"
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), str(source)], stdout=subprocess.PIPE, env=environment, cwd=root
    )
    assert child.stdout is not None
    try:
        with child.stdout:
            for _ in range(lines):
                assert child.stdout.readline()
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(30)
    report = ingest(tmp_path, source)
    assert report.views["item_ready"].written == ROWS
    assert half_written(tmp_path) == []
    assert state(tmp_path) == state(clean_run[0])
