"""Writing ready vectors: the connector (offline log and Milvus), the bare client, and Feast's own materialisation."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pymilvus import MilvusClient

from benchmarks.data import ready_vectors
from benchmarks.feast_store import feast_seconds
from benchmarks.harness import Figure, figure, interleaved
from benchmarks.stores import (
    DIMENSION,
    bare_collection,
    bare_upsert,
    milvus_server,
    write_repository,
)
from connector import Connector

ROWS = 50_000
FEAST_ROWS = 10_000
ROUNDS = 3


def run() -> tuple[list[Figure], dict[str, Any]]:
    """Rows per second; every round writes into collections that are new."""
    rows = ready_vectors(ROWS)
    with milvus_server() as server, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.parquet"
        pq.write_table(rows, path, row_group_size=10_000)
        client = MilvusClient(server.uri)
        ours = _Ours(Path(folder), server.uri, path)
        taken = interleaved({"ours": ours, "bare": lambda: _bare(client, path)}, ROUNDS)
        feast = feast_seconds(Path(folder) / "feast", server.uri, rows.slice(0, FEAST_ROWS))
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
