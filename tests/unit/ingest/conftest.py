from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.ingest.kit import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    """Make a store, logs and encoders for the given spaces and views."""
    return lambda *targets: Bench(tmp_path, *targets)
