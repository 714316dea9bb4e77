"""Two Feast projects on one Milvus: views of one name are told apart, or refused; nobody drops the other's rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Int64, String

from connector.errors import SchemaMismatchError

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def clicks() -> FeatureView:
    source = FileSource(name="clicks_file", path="data/clicks.parquet", timestamp_field="event_timestamp")
    schema = [Field(name="item_id", dtype=String), Field(name="count", dtype=Int64)]
    return FeatureView(name="clicks", entities=[ITEM], schema=schema, source=source)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., FeatureStore]]:
    made: list[FeatureStore] = []

    def open_store(project: str, **online: Any) -> FeatureStore:
        config = RepoConfig(
            project=project,
            provider="local",
            registry=str(tmp_path / f"{project}.db"),
            online_store={
                "type": "connector.stores.online.MilvusOnlineStore",
                "uri": str(tmp_path / "milvus.db"),
                **online,
            },
            offline_store={"type": "dask"},
            entity_key_serialization_version=3,
            repo_path=tmp_path,
        )
        made.append(FeatureStore(config=config))
        return made[-1]

    yield open_store
    for store in made:
        store.teardown()


def count_of(store: FeatureStore) -> list[Any]:
    answer = store.get_online_features(["clicks:count"], [{"item_id": "i1"}])
    return list(answer.to_dict()["count"])


def test_a_view_of_the_same_name(opened: Callable[..., FeatureStore], caplog: pytest.LogCaptureFixture) -> None:
    first = opened("alpha")
    first.apply([ITEM, clicks()])
    rows = pa.table({"item_id": ["i1"], "count": [7], "event_timestamp": pa.array([NOW])})
    first.write_to_online_store("clicks", rows.to_pandas())
    second = opened("beta")
    with pytest.raises(SchemaMismatchError, match=r"belongs to Feast project alpha, not to beta; .*collection_prefix"):
        second.apply([ITEM, clicks()])
    with caplog.at_level(logging.WARNING, logger="connector.stores.online_update"):
        # As it is torn down where its registry commits before the online store is asked.
        second._get_provider().online_store.teardown(second.config, [clicks()], [ITEM])
    assert "clicks__v1 is project alpha's" in caplog.text
    assert count_of(first) == [7]
    apart = opened("gamma", collection_prefix="gamma_")
    apart.apply([ITEM, clicks()])
    assert (count_of(apart), count_of(first)) == ([None], [7])
    first.apply([ITEM, clicks()])
    assert count_of(first) == [7]
