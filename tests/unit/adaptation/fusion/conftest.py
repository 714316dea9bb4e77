from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector.adaptation.fusion.spec import FusionSpec
from connector.adaptation.spec import parse_spec


@pytest.fixture
def make_fusion(pairs_file: Path, tmp_path: Path) -> Callable[..., FusionSpec]:
    """A job of a second over 240 pictures with words of 16 meanings; keyword arguments change its spec."""

    def make(out: str = "out", **changes: Any) -> FusionSpec:
        values: dict[str, Any] = {
            "job": "fusion",
            "out": str(tmp_path / out),
            "catalogue": {"path": str(pairs_file)},
            "members": {
                "text": {"encoder": "text", "columns": ["colour", "form"]},
                "image": {"encoder": "image", "columns": ["image"]},
            },
            "towards": "text",
            "batch_size": 64,
            "hidden": 16,
            "steps": 24,
            "learning_rate": 0.002,
            "validation": 0.2,
            "evaluate_every": 12,
            "checkpoint_every": 8,
            "device": "cpu",
        }
        spec = parse_spec({**values, **changes})
        assert isinstance(spec, FusionSpec)
        return spec

    return make
