"""What the store suites share: a real Milvus server, a repository of ready vectors on it, and the bare client's way."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pymilvus import DataType, MilvusClient

from benchmarks.harness import ROOT
from connector.testing.milvus_server import MilvusServer

DIMENSION = 384
INDEX = {"M": 16, "efConstruction": 200}
BARE_BATCH = 1000
SETTLE_S = 300

FEATURE_STORE = """\
project: bench
provider: local
registry: data/registry.db
offline_store:
  type: dask
online_store:
{online_store}
entity_key_serialization_version: 3
"""

OURS = """\
  type: connector.stores.online.MilvusOnlineStore
  uri: {uri}
  collection_prefix: {prefix}_
"""

FEATURES = f"""\
from connector import embedding_view
from encoders.contract import external_contract
from feast import Entity, Field, ValueType
from feast.types import Float64, String

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
item_vector = embedding_view(
    "item_vector",
    entity=item,
    contract=external_contract("ready", version=1, dimension={DIMENSION}, modality="text"),
    vectors="vector",
    fields=[Field(name="category", dtype=String), Field(name="price", dtype=Float64)],
)
"""


@contextmanager
def milvus_server() -> Iterator[MilvusServer]:
    """A server with data of its own, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        server = MilvusServer(folder, ROOT / ".venv-milvus")
        try:
            yield server.start()
        finally:
            server.kill()


def write_repository(folder: Path, uri: str, prefix: str = "ours", features: str = FEATURES) -> Path:
    """A Feast repository with our online store on the server at `uri`."""
    return _write(folder, OURS.format(uri=uri, prefix=prefix), features)


def write_feast_repository(folder: Path, online_store: str, features: str) -> Path:
    """A Feast repository with another online store."""
    return _write(folder, online_store, features)


def bare_collection(client: MilvusClient, name: str) -> None:
    """The collection that a user of the bare client would make for the same rows and the same index."""
    if client.has_collection(name):
        client.drop_collection(name)
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("item_id", DataType.VARCHAR, max_length=128, is_primary=True)
    schema.add_field("category", DataType.VARCHAR, max_length=128)
    schema.add_field("price", DataType.DOUBLE)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="HNSW", metric_type="COSINE", params=INDEX)
    client.create_collection(name, schema=schema, index_params=index)


def bare_upsert(client: MilvusClient, name: str, rows: pa.Table) -> None:
    """Upsert in batches of a thousand dicts, as the client's documentation shows."""
    for batch in rows.to_batches(max_chunksize=BARE_BATCH):
        client.upsert(name, batch.to_pylist())


def settle(client: MilvusClient, name: str) -> None:
    """Wait until the rows are flushed and indexed, as they are in a store that has been up for a while."""
    client.flush(name)
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        states = [client.describe_index(name, index) for index in client.list_indexes(name)]
        if all(int(state.get("pending_index_rows", 0) or 0) == 0 for state in states):
            break
        time.sleep(1)
    client.release_collection(name)
    client.load_collection(name)


def _write(folder: Path, online_store: str, features: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "feature_store.yaml").write_text(FEATURE_STORE.format(online_store=online_store.rstrip()))
    (folder / "connector.yaml").write_text("triton: {mode: process}\n")
    (folder / "features.py").write_text(features)
    return folder


def recall(found: list[list[Any]], exact: list[list[Any]]) -> float:
    """Mean share of the exact answers among the found ones."""
    return sum(len(set(a) & set(b)) / len(b) for a, b in zip(found, exact, strict=True)) / len(exact)
