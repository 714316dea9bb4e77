"""Readers while a space is promoted: none may fail, and every answer must be one version's, whole."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.data import clustered
from benchmarks.harness import Figure, figure, percentile
from benchmarks.stores import milvus_server, settle, write_repository
from connector import Connector
from connector.errors import ConnectorError

ROWS = 50_000
DIMENSION = 64
READERS = 2
K = 10
NEAR = 100
ASKED = [f"i{number:07d}" for number in range(0, 200)]

FEATURES = """\
from connector import embedding_view
from encoders.contract import external_contract
from feast import Entity, ValueType

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
item_vector = embedding_view(
    "item_vector",
    entity=item,
    contract=external_contract("ready", version={version}, dimension={dimension}, modality="text"),
    vectors="vector{version}",
)
"""


class Readers:
    """Threads that search without pause; each has a Connector of its own, as another process would."""

    def __init__(self, folder: Path) -> None:
        self.answers: list[tuple[float, str, frozenset[str]]] = []
        self.failures: list[str] = []
        self.milliseconds: list[float] = []
        self._folder = folder
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(seed,)) for seed in range(READERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _read(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        with Connector(self._folder) as connector:
            while not self._stop.is_set():
                key = ASKED[int(random.integers(0, len(ASKED)))]
                start = time.perf_counter()
                try:
                    found = connector.search("item_vector", item_id=key, k=K, search_params={"ef": 64})
                except ConnectorError as error:
                    self.failures.append(str(error))
                    continue
                self.milliseconds.append(1000 * (time.perf_counter() - start))
                self.answers.append((time.monotonic(), key, frozenset(found["item_id"].to_pylist())))


def run() -> tuple[list[Figure], dict[str, Any]]:
    """Failed and mixed answers during a promotion, and how long the gate and the move take."""
    with milvus_server() as server, tempfile.TemporaryDirectory() as name:
        folder = write_repository(Path(name) / "repository", server.uri, features="")
        rows = _rows()
        with Connector(folder) as connector:
            for version in (1, 2):
                text = FEATURES.format(version=version, dimension=DIMENSION * version)
                (folder / "features.py").write_text(text)
                connector.apply()
                connector.ingest(rows, entity="item", spaces=["item_vector"])
            for collection in ("ours_item_vector__v1", "ours_item_vector__v2"):
                settle(connector._repository.vector_store._opened().client, collection)  # type: ignore[attr-defined]
            readers = Readers(folder)
            readers.start()
            time.sleep(10)
            began = time.monotonic()
            report = connector.promote("item_vector")
            ended = time.monotonic()
            time.sleep(10)
            readers.stop()
    old, new = (_near(rows, f"vector{version}") for version in (1, 2))
    mixed = sum(
        1 for _, key, found in readers.answers if found & (old[key] - new[key]) and found & (new[key] - old[key])
    )
    far = sum(1 for _, key, found in readers.answers if not (old[key] >= found or new[key] >= found))
    late = [when - ended for when, key, found in readers.answers if found & (old[key] - new[key])]
    during = sum(1 for when, _, _ in readers.answers if began <= when <= ended)
    figures = [
        figure("failed queries during a promotion", float(len(readers.failures)), "queries", goal="<= 0"),
        figure("answers with neighbours of both versions", float(mixed), "answers", goal="<= 0"),
        figure(
            f"answers with an item beyond their version's {NEAR} nearest (approximate index)", float(far), "answers"
        ),
        figure("seconds from the move to the last old answer", max([0.0, *late]), "s"),
        figure("gate and move", ended - began, "s"),
        figure("search p99 through it", percentile(sorted(readers.milliseconds), 0.99), "ms"),
    ]
    notes = {
        "rows": ROWS,
        "readers": READERS,
        "answers": len(readers.answers),
        "answers while it moved": during,
        "gate": {check.name: round(check.value, 4) for check in report.gate.checks},
    }
    return figures, notes


def _rows() -> pa.Table:
    random = np.random.default_rng(0)
    first, second = clustered(ROWS, DIMENSION, random), clustered(ROWS, 2 * DIMENSION, random)
    return pa.table(
        {
            "item_id": [f"i{number:07d}" for number in range(ROWS)],
            "vector1": pa.FixedSizeListArray.from_arrays(pa.array(first.reshape(-1)), DIMENSION),
            "vector2": pa.FixedSizeListArray.from_arrays(pa.array(second.reshape(-1)), 2 * DIMENSION),
        }
    )


def _near(rows: pa.Table, column: str) -> dict[str, frozenset[str]]:
    """The `NEAR` nearest of each asked item by exact search in one version.

    The versions' vectors are drawn independently, so an answer with some of one version's and none of the other's is
    that version's; the index, which is built while readers ask, may give the twelfth neighbour for the tenth, and
    misses a whole neighbourhood now and then.
    """
    ids = np.array(rows["item_id"].to_pylist())
    vectors = np.stack(rows[column].to_numpy())
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = {key: place for place, key in enumerate(ids.tolist())}
    scores = vectors[[places[key] for key in ASKED]] @ vectors.T
    nearest = np.argpartition(-scores, NEAR, axis=1)[:, :NEAR]
    return {key: frozenset(ids[found].tolist()) for key, found in zip(ASKED, nearest, strict=True)}
