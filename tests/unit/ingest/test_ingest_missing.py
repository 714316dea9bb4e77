"""Rows that lack what a space must have, under each policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.ingest.kit import Bench, make_space

ROWS = pa.table(
    {
        "item_id": ["a", "b", "c"],
        "title": ["cup", None, " "],
        "vector": pa.array([[1.0, 0, 0, 0], None, [0.0, 1]], pa.list_(pa.float32())),
    }
)


@pytest.mark.parametrize(("missing", "absent", "dead"), [("absent", 2, 0), ("error", 0, 2)])
def test_texts(tmp_path: Path, missing: str, absent: int, dead: int) -> None:
    bench = Bench(tmp_path, replace(make_space(), missing=missing))  # type: ignore[arg-type]
    report = bench.ingest(ROWS)
    view = report.views["item_text"]
    assert (view.written, view.absent, view.dead) == (1, absent, dead)
    assert report.reasons == ({"missing modality": 2} if dead else {})


@pytest.mark.parametrize(("missing", "absent"), [("absent", 1), ("error", 0)])
def test_ready_vectors(tmp_path: Path, missing: str, absent: int) -> None:
    space = make_space(inputs=("vector",), ready=True)
    report = Bench(tmp_path, replace(space, missing=missing)).ingest(ROWS)  # type: ignore[arg-type]
    view = report.views["item_text"]
    # The last has a vector, which is too short: bad, and not missing.
    assert (view.written, view.absent, view.dead) == (1, absent, 2 - absent)
    if not absent:
        letters = {row["key"]: row["kind"] for row in pq.read_table(str(report.dead_letter_path)).to_pylist()}
        assert letters == {"b": "missing modality", "c": "bad vector"}


def test_a_resumed_run_is_of_the_same_policy(tmp_path: Path) -> None:
    pq.write_table(ROWS, tmp_path / "items.parquet")
    for missing, written in (("absent", 1), ("error", 1)):
        bench = Bench(tmp_path, replace(make_space(), missing=missing))  # type: ignore[arg-type]
        report = bench.ingest(str(tmp_path / "items.parquet"))
        assert (report.resumed, report.views["item_text"].written) == (0, written)
