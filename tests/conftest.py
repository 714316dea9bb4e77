"""Fixtures shared by all tests: real servers, each in a module of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

from tests.torture import TORTURE

# A busy machine fails no property, and every run tries the same examples; `make torture` tries others.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not TORTURE,
)
settings.load_profile("suite")

pytest_plugins = [name for name in ("tests.triton_fixtures", "tests.milvus_fixtures") if find_spec(name)]


@pytest.fixture(scope="session", autouse=True)
def private_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Locks of the stores under test, and what libraries leave in the folder for temporary files, child processes
    included, in folders that pytest removes."""
    temporary = str(tmp_path_factory.mktemp("temporary"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONNECTOR_STATE_FOLDER", str(tmp_path_factory.mktemp("state")))
        patch.setenv("TMPDIR", temporary)
        patch.setattr(tempfile, "tempdir", temporary)
        yield
