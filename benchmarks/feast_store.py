"""Feast's own calls on our online store, beside Feast's own Milvus store and the bare client, on the same server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pymilvus import MilvusClient

from benchmarks.data import clustered, ready_vectors
from benchmarks.harness import Figure, figure, latencies, percentile, seconds
from benchmarks.stores import DIMENSION, bare_collection, bare_upsert, milvus_server, settle, write_feast_repository

ROWS = 20_000
ENTITIES = 100
ROUNDS = 100
K = 10
FIELDS = ["category", "price"]

OURS = """\
  type: connector.stores.online.MilvusOnlineStore
  uri: {uri}
  collection_prefix: ours_
batch_engine:
  type: connector.stores.engine.ArrowComputeEngine
"""
THEIRS = f"""\
  type: milvus
  uri: {{uri}}
  embedding_dim: {DIMENSION}
  index_type: HNSW
  index_params: {{{{M: 16, efConstruction: 200}}}}
  search_params: {{{{ef: 64}}}}
  metric_type: COSINE
"""


def run() -> tuple[list[Figure], dict[str, Any]]:
    """Materialisation in rows/s; reads and searches as p50 in milliseconds over interleaved calls."""
    rows = ready_vectors(ROWS)
    queries = clustered(ROUNDS + 20, DIMENSION, np.random.default_rng(1))
    with milvus_server() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = _source(folder, rows)
        ours = _store(folder / "ours", OURS.format(uri=server.uri), source)
        theirs = _store(folder / "theirs", THEIRS.format(uri=server.uri), source)
        now = datetime.now(timezone.utc)
        written = {
            label: seconds(lambda store=store: store.materialize(now - timedelta(days=1), now))
            for label, store in (("ours", ours), ("theirs", theirs))
        }
        client = MilvusClient(server.uri)
        bare_collection(client, "bare")
        bare_upsert(client, "bare", rows)
        for collection in client.list_collections():
            settle(client, collection)
        keys = rows["item_id"].to_pylist()
        reads = latencies(
            {"ours": _read(ours, keys), "theirs": _read(theirs, keys), "bare": _get(client, keys)}, ROUNDS
        )
        searches = latencies(
            {
                "ours": _documents(ours, queries),
                "theirs": _documents(theirs, queries),
                "bare": _search(client, queries),
            },
            ROUNDS,
        )
        within = latencies({"ours": _store_documents(ours, queries), "bare": _search(client, queries)}, ROUNDS)
        client.close()
    figures = [
        figure(
            "materialize",
            ROWS / written["ours"],
            "rows/s",
            baseline="Feast's own Milvus store",
            baseline_value=ROWS / written["theirs"],
            goal=">= 5",
        ),
        _p50(f"get_online_features of {ENTITIES} entities", reads, "theirs", "Feast's own Milvus store", "<= 1.0"),
        _p50(f"get_online_features of {ENTITIES} entities", reads, "bare", "MilvusClient.get", "<= 2.0"),
        _p50("retrieve_online_documents_v2", searches, "theirs", "Feast's own Milvus store", ""),
        _p50("retrieve_online_documents_v2", searches, "bare", "MilvusClient.search", "<= 1.3"),
        _p50(
            "the online store's part of retrieve_online_documents_v2", within, "bare", "MilvusClient.search", "<= 1.3"
        ),
    ]
    return figures, {"rows": ROWS, "calls": ROUNDS, "k": K, "dimension": DIMENSION}


def feast_seconds(folder: Path, uri: str, rows: pa.Table) -> float:
    """Seconds in which `FeatureStore.materialize` fills Feast's own Milvus store from a Parquet file."""
    folder.mkdir()
    store = _store(folder / "repository", THEIRS.format(uri=uri), _source(folder, rows))
    now = datetime.now(timezone.utc)
    return seconds(lambda: store.materialize(now - timedelta(days=1), now))


def _p50(name: str, taken: dict[str, list[float]], other: str, baseline: str, goal: str) -> Figure:
    return figure(
        f"{name} p50",
        1000 * percentile(taken["ours"], 0.5),
        "ms",
        baseline=baseline,
        baseline_value=1000 * percentile(taken[other], 0.5),
        goal=goal,
    )


def _source(folder: Path, rows: pa.Table) -> Path:
    moment = datetime.now(timezone.utc) - timedelta(hours=1)
    vectors = pa.array(rows["vector"].to_pylist(), pa.list_(pa.float32()))
    table = rows.set_column(rows.column_names.index("vector"), "vector", vectors)
    stamps = pa.array([moment] * len(rows), pa.timestamp("us", "UTC"))
    path = folder / "vectors.parquet"
    pq.write_table(table.append_column("event_timestamp", stamps), path)
    return path


def _store(folder: Path, online_store: str, source: Path) -> Any:
    """A Feast store with the same entity and view, whatever its online store is."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Array, Float32, Float64, String

    write_feast_repository(folder, online_store, "")
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="item_vector",
        entities=[item],
        ttl=timedelta(0),
        schema=[
            Field(name="item_id", dtype=String),
            Field(
                name="vector",
                dtype=Array(Float32),
                vector_index=True,
                vector_length=DIMENSION,
                vector_search_metric="COSINE",
            ),
            Field(name="category", dtype=String),
            Field(name="price", dtype=Float64),
        ],
        source=FileSource(name="vectors", path=str(source), timestamp_field="event_timestamp"),
    )
    store = FeatureStore(repo_path=str(folder))
    store.apply([item, view])
    return store


def _some(keys: list[str], number: int) -> list[str]:
    return [keys[place] for place in np.random.default_rng(number).integers(0, len(keys), ENTITIES)]


def _read(store: Any, keys: list[str]) -> Callable[[int], Any]:
    features = [f"item_vector:{name}" for name in FIELDS]
    return lambda n: store.get_online_features(
        features=features, entity_rows=[{"item_id": key} for key in _some(keys, n)]
    )


def _get(client: MilvusClient, keys: list[str]) -> Callable[[int], Any]:
    return lambda n: client.get("bare", ids=_some(keys, n), output_fields=FIELDS)


def _documents(store: Any, queries: Any) -> Callable[[int], Any]:
    features = [f"item_vector:{name}" for name in FIELDS]
    return lambda n: store.retrieve_online_documents_v2(features=features, query=queries[n].tolist(), top_k=K)


def _store_documents(store: Any, queries: Any) -> Callable[[int], Any]:
    """The call without Feast's own share, which builds the view's objects anew from the registry each time."""
    online, view = store._get_provider().online_store, store.get_feature_view("item_vector")
    return lambda n: online.retrieve_online_documents_v2(store.config, view, FIELDS, queries[n].tolist(), K)


def _search(client: MilvusClient, queries: Any) -> Callable[[int], Any]:
    return lambda n: client.search(
        "bare", data=[queries[n]], limit=K, output_fields=["item_id", *FIELDS], search_params={"params": {"ef": 64}}
    )
