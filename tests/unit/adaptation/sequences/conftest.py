from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector.adaptation import JobSpec
from connector.adaptation.spec import parse_spec

ITEMS = 24


@pytest.fixture(scope="session")
def shop_of_cycles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty users who go round a ring of 24 items, each from a start of his own; one item in ten is another."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[Any]] = {"user_id": [], "item_id": [], "event_timestamp": [], "rating": []}
    for user in range(60):
        start = int(rng.integers(ITEMS))
        for step in range(14):
            item = (start + step) % ITEMS if rng.random() > 0.1 else int(rng.integers(ITEMS))
            rows["user_id"].append(f"u{user}")
            rows["item_id"].append(f"i{item:02d}")
            rows["event_timestamp"].append(step)
            rows["rating"].append(5.0)
    folder = tmp_path_factory.mktemp("ring")
    pq.write_table(pa.table(rows), folder / "interactions.parquet")
    vectors = rng.normal(size=(ITEMS, 8)).astype(np.float32)
    ids = [f"i{item:02d}" for item in range(ITEMS)]
    pq.write_table(pa.table({"item_id": ids, "vector": list(vectors)}), folder / "items.parquet")
    return folder


@pytest.fixture
def make_job(shop_of_cycles: Path, tmp_path: Path) -> Callable[..., JobSpec]:
    """A job of a second or two; keyword arguments change its spec."""

    def make(job: str, out: str = "out", **changes: Any) -> JobSpec:
        values: dict[str, Any] = {
            "job": job,
            "out": str(tmp_path / out),
            "interactions": {"path": str(shop_of_cycles / "interactions.parquet")},
            "hidden": 16,
            "layers": 1,
            "longest": 6,
            "dropout": 0.1,
            "batch_size": 32,
            "steps": 120,
            "learning_rate": 0.01,
            "weight_decay": 0.0,
            "test": 0.1,
            "evaluate_every": 40,
            "checkpoint_every": 40,
            "device": "cpu",
        }
        return parse_spec({name: value for name, value in {**values, **changes}.items() if value is not None})

    return make
