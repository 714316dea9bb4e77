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

CLUBS, EACH = 12, 20


@pytest.fixture(scope="session")
def club_content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Content of the club shop's items: a little of it says which club, most of it says nothing."""
    rng = np.random.default_rng(5)
    clubs = np.repeat(np.arange(CLUBS), EACH)
    told = np.eye(CLUBS)[clubs] + 0.1 * rng.normal(size=(len(clubs), CLUBS))
    untold = 2.0 * rng.normal(size=(len(clubs), CLUBS))
    vectors = np.concatenate([told, untold], axis=1).astype(np.float32)
    ids = [f"c{club:02d}i{item:02d}" for club in range(CLUBS) for item in range(EACH)]
    path = tmp_path_factory.mktemp("content") / "items.parquet"
    pq.write_table(pa.table({"item_id": ids, "vector": list(vectors)}), path)
    return path


@pytest.fixture
def make_items(shop_of_clubs: Path, club_content: Path, tmp_path: Path) -> Callable[..., JobSpec]:
    """A job of a second or two; keyword arguments change its spec, None leaves a field out."""

    def make(job: str, out: str = "out", **changes: Any) -> JobSpec:
        values: dict[str, Any] = {
            "job": job,
            "out": str(tmp_path / out),
            "content": {"path": str(club_content)},
            "interactions": {"path": str(shop_of_clubs)},
            "hidden": 0,
            "dropout": 0.0,
            "batch_size": 64,
            "steps": 120,
            "learning_rate": 0.01,
            "evaluate_every": 60,
            "checkpoint_every": 60,
            "device": "cpu",
        }
        values |= {"factors": 12} if job == "collaborative_alignment" else {"dimension": 16, "test": 0.1}
        return parse_spec({name: value for name, value in {**values, **changes}.items() if value is not None})

    return make
