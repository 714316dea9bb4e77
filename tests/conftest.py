"""Fixtures shared by all tests: real servers, each in a module of its own."""

from __future__ import annotations

from importlib.util import find_spec

pytest_plugins = [name for name in ("tests.triton_fixtures", "tests.milvus_fixtures") if find_spec(name)]
