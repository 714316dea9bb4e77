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

TOPICS, EACH, VALUES = 8, 5, 16


def topic_vectors(topics: np.ndarray, seed: int) -> np.ndarray:
    """Vectors near those of their topics, float32 [n, 16]; the topics are the same for every seed."""
    centres = np.random.default_rng(99).normal(size=(TOPICS, VALUES))
    noise = np.random.default_rng(seed).normal(size=(len(topics), VALUES))
    return (centres[topics] + 0.3 * noise).astype(np.float32)


def write_catalogue(folder: Path, name: str, seed: int) -> None:
    """Forty items of eight topics, and users whose next item is always of the next topic; one item is never chosen."""
    rng = np.random.default_rng(seed)
    topics = np.repeat(np.arange(TOPICS), EACH)
    ids = [f"{name}{item:02d}" for item in range(len(topics))]
    words = [f"topic {topic}" for topic in topics]
    vectors = topic_vectors(topics, seed)
    pq.write_table(
        pa.table({"item_id": ids, "vector": list(vectors), "words": words, "topic": topics}),
        folder / f"{name}_items.parquet",
    )
    rows: dict[str, list[Any]] = {"user_id": [], "item_id": [], "event_timestamp": []}
    for user in range(60):
        start = int(rng.integers(TOPICS))
        for step in range(10):
            topic = (start + step) % TOPICS
            item = topic * EACH + int(rng.integers(1 if topic == 0 else 0, EACH))
            rows["user_id"].append(f"u{user}")
            rows["item_id"].append(ids[item])
            rows["event_timestamp"].append(step)
    pq.write_table(pa.table(rows), folder / f"{name}_interactions.parquet")


@pytest.fixture(scope="session")
def two_shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Catalogues `a` and `b`: no item in common, the same topics, the same ways of going through them."""
    folder = tmp_path_factory.mktemp("shops")
    write_catalogue(folder, "a", 1)
    write_catalogue(folder, "b", 2)
    return folder


@pytest.fixture
def make_universal(two_shops: Path, tmp_path: Path) -> Callable[..., JobSpec]:
    """A job of a second or two over one of the shops; keyword arguments change its spec, None leaves a field out."""

    def make(shop: str = "a", out: str = "out", **changes: Any) -> JobSpec:
        values: dict[str, Any] = {
            "job": "universal_sequence",
            "out": str(tmp_path / out),
            "interactions": {"path": str(two_shops / f"{shop}_interactions.parquet")},
            "content": {"path": str(two_shops / f"{shop}_items.parquet")},
            "hidden": 16,
            "layers": 1,
            "experts": 2,
            "longest": 6,
            "dropout": 0.1,
            "batch_size": 32,
            "steps": 100,
            "learning_rate": 0.01,
            "weight_decay": 0.0,
            "test": 0.1,
            "evaluate_every": 50,
            "checkpoint_every": 50,
            "device": "cpu",
        }
        return parse_spec({name: value for name, value in {**values, **changes}.items() if value is not None})

    return make
