"""Fixtures that start the real Milvus server, once a session, and only for tests that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.testing.milvus_server import ENVIRONMENT_VARIABLE, MilvusServer, server_python

ROOT = Path(__file__).resolve().parent.parent


def milvus_environment() -> Path | None:
    """Environment of the server: the one named in the environment, else the repository's own."""
    import os

    return Path(os.environ.get(ENVIRONMENT_VARIABLE, ROOT / ".venv-milvus"))


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """The running server, shared by every test; tests keep apart by collection names."""
    environment = milvus_environment()
    if server_python(environment) is None:
        pytest.skip(f"no Milvus server environment at {environment}; `make test` builds it")
    server = MilvusServer(tmp_path_factory.mktemp("milvus"), environment)
    server.start()
    yield server
    server.remove()
