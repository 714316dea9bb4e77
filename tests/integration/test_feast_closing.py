"""What the online store leaves behind: nothing."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import psutil
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Int64, String

from connector.stores import lite
from connector.stores.online import MilvusOnlineStore
from connector.testing import MilvusServer

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
STATS = FeatureView(
    name="closing_stats",
    entities=[ITEM],
    schema=[Field(name="item_id", dtype=String), Field(name="clicks", dtype=Int64)],
    source=FileSource(name="stats_file", path="stats.parquet", timestamp_field="event_timestamp"),
)
KEY = EntityKey(join_keys=["item_id"], entity_values=[Value(string_val="a")])

NEVER_CLOSED = """
import sys
from feast import RepoConfig
from connector.stores.online import MilvusOnlineStore
config = RepoConfig(
    project="shop",
    provider="local",
    registry="registry.db",
    online_store={"type": "connector.stores.online.MilvusOnlineStore", "uri": sys.argv[2]},
    entity_key_serialization_version=3,
    repo_path=sys.argv[1],
)
store = MilvusOnlineStore()
store.vector_store(config).list_collections()
print("used")
"""


@pytest.fixture(params=["lite", pytest.param("server", marks=pytest.mark.milvus_server)])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RepoConfig]:
    uri = "milvus.db"
    if request.param == "server":
        server: MilvusServer = request.getfixturevalue("milvus_server")
        uri = server.uri
    config = RepoConfig(
        project="shop",
        provider="local",
        registry=str(tmp_path / "registry.db"),
        online_store={"type": "connector.stores.online.MilvusOnlineStore", "uri": uri},
        entity_key_serialization_version=3,
        repo_path=tmp_path,
    )
    use(config, MilvusOnlineStore())  # what stays for the life of a process, of gRPC and of pymilvus, is there by now
    yield config
    MilvusOnlineStore().teardown(config, [STATS], [])


def use(config: RepoConfig, store: MilvusOnlineStore) -> None:
    store.update(config, [], [STATS], [], [], partial=True)
    for event in (1, 2, 3):
        store.online_write_batch(config, STATS, [(KEY, {"clicks": Value(int64_val=event)}, NOW, NOW)], None)
    assert store.online_read(config, STATS, [KEY], ["clicks"])[0][1] == {"clicks": Value(int64_val=3)}
    asyncio.run(store.close())


def left_over(threads: set[threading.Thread], children: set[int]) -> list[object]:
    """Threads and processes that were not there before, once they have had a moment to go."""
    for _ in range(50):
        gc.collect()
        found: list[object] = [thread for thread in threading.enumerate() if thread not in threads]
        found += [child for child in psutil.Process().children(recursive=True) if child.pid not in children]
        if not found:
            break
        time.sleep(0.1)
    return found


def test_closing_leaves_no_thread_and_no_process(config: RepoConfig) -> None:
    threads = set(threading.enumerate())
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    store = MilvusOnlineStore()
    asyncio.run(store.initialize(config))
    use(config, store)
    use(config, store)
    assert left_over(threads, children) == []


def test_a_store_that_is_forgotten_closes_itself(config: RepoConfig) -> None:
    threads = set(threading.enumerate())
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    store = MilvusOnlineStore()
    store.update(config, [], [STATS], [], [], partial=True)
    del store
    assert left_over(threads, children) == []


@pytest.mark.timeout(60)
def test_a_store_that_is_forgotten_may_be_collected_under_any_lock(config: RepoConfig) -> None:
    """Garbage is collected in the middle of anything, also while this thread opens another store."""
    threads = set(threading.enumerate())
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    store = MilvusOnlineStore()
    store.update(config, [], [STATS], [], [], partial=True)
    vectors = store.vector_store(config)
    with lite._lock, vectors._lock, getattr(threading, "_active_limbo_lock"):  # noqa: B009 - not in its stubs
        del store
        gc.collect()
    assert left_over(threads, children) == []
    assert vectors._session is None


def test_stores_that_are_never_closed_let_a_process_end(config: RepoConfig) -> None:
    uri = str(config.online_store.uri)
    process = subprocess.run(
        [sys.executable, "-c", NEVER_CLOSED, str(config.repo_path), uri],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "used\n", "")


def test_two_feature_stores_of_one_process_share_a_lite_database(tmp_path: Path) -> None:
    stores = []
    for number in (1, 2):
        config = RepoConfig(
            project=f"shop{number}",
            provider="local",
            registry=str(tmp_path / f"registry{number}.db"),
            online_store={
                "type": "connector.stores.online.MilvusOnlineStore",
                "uri": "milvus.db",
                "collection_prefix": f"p{number}_",
            },
            entity_key_serialization_version=3,
            repo_path=tmp_path,
        )
        stores.append(FeatureStore(config=config))
    for store in stores:
        store.apply([ITEM, STATS])
    asyncio.run(stores[0].close())
    online = stores[1]._get_provider().online_store
    assert online.online_read(stores[1].config, STATS, [KEY], ["clicks"]) == [(None, None)]
    assert online.vector_store(stores[1].config).list_collections() == ["closing_stats__v1"]
    for store in stores:
        store.teardown()
