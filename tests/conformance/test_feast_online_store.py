"""The online-store suite on Milvus Lite and the real server; reads on Feast's SQLite store, to try the suite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from feast import Field, RepoConfig
from feast.types import Array, Float32

from connector.stores.online import MilvusOnlineStore
from connector.testing import MilvusServer, OnlineStoreSuite
from connector.testing.online_documents import declare_catalogue
from connector.testing.online_fixtures import NOW, Make, item
from connector.testing.online_reads import ReadTests
from connector.testing.online_values import ValueTests

NO_WORDS = "never: Milvus 2.3 has no keyword search; apply says so"


def repository(path: Path, online_store: dict[str, Any]) -> RepoConfig:
    return RepoConfig(
        project="suite",
        provider="local",
        registry=str(path / "registry.db"),
        online_store=online_store,
        offline_store={"type": "dask"},
        entity_key_serialization_version=3,
        repo_path=path,
    )


def milvus(uri: str, prefix: str) -> dict[str, Any]:
    return {"type": "connector.stores.online.MilvusOnlineStore", "uri": uri, "collection_prefix": prefix}


class TestMilvusLite(OnlineStoreSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def config(cls, tmp_path_factory: pytest.TempPathFactory) -> RepoConfig:
        store = {**milvus("milvus.db", ""), "embedding_dim": 3}
        return repository(tmp_path_factory.mktemp("lite"), store)

    def test_a_vector_has_the_length_that_the_store_is_told(self, make: Make) -> None:
        fields = [Field(name="look", dtype=Array(Float32), vector_index=True, vector_search_metric="L2")]
        view = make(fields)
        names = ("far", "near")
        view.write(*((item(name), {"look": [float(place), 0.0, 1.0]}, NOW, None) for place, name in enumerate(names)))
        found = view.feast.retrieve_online_documents_v2(
            features=[f"{view.view.name}:look"], query=[1.0, 0.0, 1.0], top_k=1
        ).to_dict()
        assert found["item_id"] == ["near"]
        assert found["look"] == [[1.0, 0.0, 1.0]]


@pytest.mark.milvus_server
class TestMilvusServer(OnlineStoreSuite):
    gaps: ClassVar[Mapping[str, str]] = {
        "test_words": NO_WORDS,
        "test_words_with_a_filter_and_through_feast": NO_WORDS,
        "test_words_and_a_vector_together": NO_WORDS,
    }

    @pytest.fixture(scope="class")
    @classmethod
    def config(cls, tmp_path_factory: pytest.TempPathFactory, milvus_server: MilvusServer) -> RepoConfig:
        return repository(tmp_path_factory.mktemp("server"), milvus(milvus_server.uri, "feast_suite_"))

    def test_apply_says_once_what_the_server_lacks(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("WARNING", "connector"):
            tags = {"connector/keyword_fields": '["title"]', "connector/partition_key": "kind"}
            view = declare_catalogue(make, tags=tags)
            said = [record.getMessage() for record in caplog.records]
            assert len(said) == 2
            assert "keyword search needs Milvus 2.5" in said[0]
            assert "needs Milvus 2.4" in said[1]
            assert all("Milvus 2.3.5 answers" in line and "\n" not in line for line in said)
            view.feast.apply([*view.entities, view.view])
            assert [record.getMessage() for record in caplog.records] == said
        store = view.store
        assert isinstance(store, MilvusOnlineStore)
        assert store.vector_store(view.config).resolve_alias(view.view.name) == f"{view.view.name}__v1"


class TestSqlite(ValueTests, ReadTests):
    @pytest.fixture(scope="class")
    @classmethod
    def config(cls, tmp_path_factory: pytest.TempPathFactory) -> RepoConfig:
        path = tmp_path_factory.mktemp("sqlite")
        return repository(path, {"type": "sqlite", "path": str(path / "online.db")})
