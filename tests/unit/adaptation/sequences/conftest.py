from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector.adaptation import JobSpec
from connector.adaptation.spec import parse_spec


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
