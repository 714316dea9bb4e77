"""Random filters over random rows select on Milvus Lite and on the real server exactly what DuckDB selects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings

from connector.stores import MilvusVectorStore, filter_types, parse_filter
from connector.testing import MilvusServer
from connector.testing.rows import shop_spec, some_vectors
from tests.filter_cases import Oracle, conditions

SPEC = shop_spec("filter_cases__v1")


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    oracle = Oracle()
    yield oracle
    oracle.close()


def _filled(store: MilvusVectorStore, oracle: Oracle) -> Iterator[MilvusVectorStore]:
    store.create(SPEC)
    store.write(SPEC.name, oracle.rows)
    yield store
    store.drop(SPEC.name)
    store.close()


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory, oracle: Oracle) -> Iterator[MilvusVectorStore]:
    yield from _filled(MilvusVectorStore(str(tmp_path_factory.mktemp("lite") / "milvus.db")), oracle)


@pytest.fixture(scope="module")
def server(milvus_server: MilvusServer, oracle: Oracle) -> Iterator[MilvusVectorStore]:
    yield from _filled(MilvusVectorStore(milvus_server.uri), oracle)


def _selected(store: MilvusVectorStore, condition: str) -> list[str]:
    where = parse_filter(condition, filter_types(SPEC))
    found = store.search(SPEC.name, some_vectors(1), 1_000, where=where)
    return sorted(found.column("item_id").to_pylist())


@settings(max_examples=200, deadline=None)
@given(condition=conditions(patterns=True))
def test_milvus_lite(lite: MilvusVectorStore, oracle: Oracle, condition: str) -> None:
    assert _selected(lite, condition) == oracle.select(condition)


@pytest.mark.milvus_server
@settings(max_examples=200, deadline=None)
@given(condition=conditions(patterns=False))
def test_milvus_server(server: MilvusVectorStore, oracle: Oracle, condition: str) -> None:
    assert _selected(server, condition) == oracle.select(condition)
