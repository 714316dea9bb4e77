"""Writing ready vectors: the connector (offline log and Milvus), the bare client, and Feast's own materialisation."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pymilvus import MilvusClient

from benchmarks.data import ready_vectors
from benchmarks.harness import Figure, figure, interleaved, seconds
from benchmarks.stores import (
    DIMENSION,
    bare_collection,
    bare_upsert,
    milvus_server,
    write_feast_repository,
    write_repository,
)
from connector import Connector

ROWS = 50_000
FEAST_ROWS = 10_000
ROUNDS = 3

FEAST_STORE = f"""\
  type: milvus
  uri: {{uri}}
  embedding_dim: {DIMENSION}
  index_type: HNSW
  index_params: {{{{M: 16, efConstruction: 200}}}}
  metric_type: COSINE
"""


def run() -> tuple[list[Figure], dict[str, Any]]:
    """Rows per second; every round writes into collections that are new."""
    rows = ready_vectors(ROWS)
    with milvus_server() as server, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.parquet"
        pq.write_table(rows, path, row_group_size=10_000)
        client = MilvusClient(server.uri)
        ours = _Ours(Path(folder), server.uri, path)
        taken = interleaved({"ours": ours, "bare": lambda: _bare(client, path)}, ROUNDS)
        feast = _feast_seconds(Path(folder) / "feast", server.uri, rows.slice(0, FEAST_ROWS))
        client.close()
    rate = ROWS / taken["ours"]
    figures = [
        figure(
            "ingest of ready vectors into log and Milvus",
            rate,
            "rows/s",
            baseline="MilvusClient.upsert",
            baseline_value=ROWS / taken["bare"],
            goal=">= 0.7",
        ),
        figure(
            "ingest of ready vectors into log and Milvus",
            rate,
            "rows/s",
            baseline="Feast materialises into its own Milvus store",
            baseline_value=FEAST_ROWS / feast,
            goal=">= 5",
        ),
    ]
    return figures, {"rows": ROWS, "rows by Feast": FEAST_ROWS, "rounds": ROUNDS, "dimension": DIMENSION}


class _Ours:
    """Ingests into a repository of its own each time; making it is not part of the figure."""

    def __init__(self, folder: Path, uri: str, path: Path) -> None:
        self._path = path
        self._ready = []
        for number in range(ROUNDS + 1):
            connector = Connector(write_repository(folder / f"ours{number}", uri, f"ours{number}"))
            connector.apply()
            self._ready.append(connector)

    def __call__(self) -> None:
        with self._ready.pop() as connector:
            report = connector.ingest(self._path, entity="item")
            assert report.views["item_vector"].written == ROWS


def _bare(client: MilvusClient, path: Path) -> None:
    bare_collection(client, "bare")
    bare_upsert(client, "bare", pq.read_table(path))


def _feast_seconds(folder: Path, uri: str, rows: pa.Table) -> float:
    """Seconds in which `FeatureStore.materialize` fills Feast's own Milvus store from a Parquet file."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Array, Float32, Float64, String

    write_feast_repository(folder, FEAST_STORE.format(uri=uri), "")
    now = datetime.now(timezone.utc)
    stamps = pa.array([now - timedelta(hours=1)] * len(rows), pa.timestamp("us", "UTC"))
    vectors = pa.array(rows["vector"].to_pylist(), pa.list_(pa.float32()))
    table = rows.set_column(rows.column_names.index("vector"), "vector", vectors)
    source = folder / "vectors.parquet"
    pq.write_table(table.append_column("event_timestamp", stamps), source)
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
    vector = Field(
        name="vector",
        dtype=Array(Float32),
        vector_index=True,
        vector_length=DIMENSION,
        vector_search_metric="COSINE",
    )
    view = FeatureView(
        name="item_vector",
        entities=[item],
        ttl=timedelta(0),
        schema=[
            Field(name="item_id", dtype=String),
            vector,
            Field(name="category", dtype=String),
            Field(name="price", dtype=Float64),
        ],
        source=FileSource(name="vectors", path=str(source), timestamp_field="event_timestamp"),
    )
    store = FeatureStore(repo_path=str(folder))
    store.apply([item, view])
    return seconds(lambda: store.materialize(now - timedelta(days=1), now))
