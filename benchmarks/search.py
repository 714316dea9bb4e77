"""Search latency: `Connector.search` by a ready vector beside `MilvusClient.search` on the same server and rows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pymilvus import MilvusClient

from benchmarks.data import clustered, ready_vectors
from benchmarks.harness import Figure, figure, latencies, percentile
from benchmarks.stores import bare_collection, bare_upsert, milvus_server, recall, settle, write_repository
from connector import Connector

ROWS = 50_000
ROUNDS = 300
K = 10
EF = 64
OUTPUT = ["item_id", "category", "price"]
WHERE = "price < 20 AND category = 'c3'"
BARE_FILTER = "price < 20 and category == 'c3'"


def run() -> tuple[list[Figure], dict[str, Any]]:
    """p50 and p99 in milliseconds over interleaved calls, unfiltered and filtered, and recall against exact search."""
    rows = ready_vectors(ROWS)
    queries = clustered(ROUNDS + 20, 384, np.random.default_rng(1))
    with (
        milvus_server() as server,
        tempfile.TemporaryDirectory() as folder,
        Connector(write_repository(Path(folder) / "repository", server.uri)) as connector,
    ):
        connector.apply()
        connector.ingest(rows, entity="item")
        client = MilvusClient(server.uri)
        bare_collection(client, "bare")
        bare_upsert(client, "bare", rows)
        for name in client.list_collections():
            settle(client, name)
        plain = latencies({"ours": _ours(connector, queries), "bare": _bare(client, queries)}, ROUNDS)
        filtered = latencies(
            {"ours": _ours(connector, queries, WHERE), "bare": _bare(client, queries, BARE_FILTER)}, ROUNDS
        )
        exact = _exact(rows, queries[:100])
        found = [_ours(connector, queries)(n)["item_id"].to_pylist() for n in range(100)]
        bare_found = [[hit["entity"]["item_id"] for hit in _bare(client, queries)(n)[0]] for n in range(100)]
        client.close()
    figures = [
        _figure("search p50", plain, 0.5, goal="<= 1.2"),
        _figure("search p99", plain, 0.99),
        _figure("filtered search p50", filtered, 0.5, goal="<= 1.2"),
        _figure("filtered search p99", filtered, 0.99),
        figure(
            "recall@10 against exact search",
            recall(found, exact),
            "",
            baseline="MilvusClient.search",
            baseline_value=recall(bare_found, exact),
        ),
    ]
    return figures, {"rows": ROWS, "calls": ROUNDS, "k": K, "ef": EF, "filter": WHERE}


def _ours(connector: Connector, queries: Any, where: str | None = None) -> Callable[[int], Any]:
    return lambda n: connector.search("item_vector", vector=queries[n], k=K, where=where, search_params={"ef": EF})


def _bare(client: MilvusClient, queries: Any, where: str = "") -> Callable[[int], Any]:
    return lambda n: client.search(
        "bare", data=[queries[n]], limit=K, filter=where, output_fields=OUTPUT, search_params={"params": {"ef": EF}}
    )


def _exact(rows: Any, queries: Any) -> list[list[str]]:
    keys = rows["item_id"].to_pylist()
    vectors = rows["vector"].combine_chunks().flatten().to_numpy().reshape(len(keys), -1)
    best = np.argsort(-(queries @ vectors.T), axis=1)[:, :K]
    return [[keys[position] for position in line] for line in best]


def _figure(name: str, taken: dict[str, list[float]], share: float, goal: str = "") -> Figure:
    return figure(
        name,
        1000 * percentile(taken["ours"], share),
        "ms",
        baseline="MilvusClient.search",
        baseline_value=1000 * percentile(taken["bare"], share),
        goal=goal,
    )
