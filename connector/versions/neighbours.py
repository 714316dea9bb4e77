"""Neighbours of sampled items: by exact search, by the index, and how far two versions agree on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connector.spaces import EmbeddingSpace
from connector.stores.base import VectorStore

FloatArray = NDArray[np.float32]
TIE = 1e-5
"""How far two float32 scores of one vector may lie apart, beside their size."""


@dataclass(frozen=True)
class Sample:
    """Items drawn from a version.

    Attributes:
        keys: n keys.
        vectors: float32 [n, dimension], as stored.
    """

    keys: list[Any]
    vectors: FloatArray


def draw(store: VectorStore, space: EmbeddingSpace, size: int, seed: int) -> Sample:
    """A uniform sample without replacement, in one pass over the collection (Algorithm R, Vitter 1985)."""
    random = np.random.default_rng(seed)
    keys: list[Any] = []
    vectors: list[FloatArray] = []
    seen = 0
    for some, block in _blocks(store, space):
        for key, vector in zip(some, block, strict=True):
            place = seen if seen < size else int(random.integers(0, seen + 1))
            seen += 1
            if place == len(keys):
                keys.append(key)
                vectors.append(vector)
            elif place < size:
                keys[place], vectors[place] = key, vector
    return Sample(keys, np.asarray(vectors, np.float32).reshape(len(keys), space.contract.dimension))


@dataclass(frozen=True)
class Neighbours:
    """For each sampled item, its neighbours, nearest first.

    Attributes:
        keys: of the neighbours.
        scores: of the neighbours; more is nearer.
    """

    keys: list[list[Any]]
    scores: list[list[float]]


def exact_neighbours(store: VectorStore, space: EmbeddingSpace, sample: Sample, k: int) -> Neighbours:
    """The k nearest other items of each sampled one, by comparing it with every row; bounded memory."""
    best = np.full((len(sample.keys), k), -np.inf, np.float32)
    names = np.empty((len(sample.keys), k), object)
    for some, block in _blocks(store, space):
        scores = _scores(space.contract.metric, sample.vectors, block)
        keys = np.empty(len(some), object)
        keys[:] = some
        for row, own in enumerate(sample.keys):
            scores[row, keys == own] = -np.inf
        joined = np.concatenate([best, scores], axis=1)
        both = np.concatenate([names, np.broadcast_to(keys, scores.shape)], axis=1)
        order = np.argsort(-joined, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(joined, order, axis=1)
        names = np.take_along_axis(both, order, axis=1)
    there = [row > -np.inf for row in best]
    return Neighbours(
        [list(row[held]) for row, held in zip(names, there, strict=True)],
        [row[held].tolist() for row, held in zip(best, there, strict=True)],
    )


def indexed_neighbours(store: VectorStore, space: EmbeddingSpace, sample: Sample, k: int) -> Neighbours:
    """The same, as the index finds them."""
    keys: list[list[Any]] = [[] for _ in sample.keys]
    scores: list[list[float]] = [[] for _ in sample.keys]
    if not sample.keys:
        return Neighbours(keys, scores)
    hits = store.search(space.collection, sample.vectors, k + 1, columns=[])
    sign = -1.0 if space.contract.metric == "L2" else 1.0
    columns = (hits.column(name).to_pylist() for name in ("query", space.join_key.name, "distance"))
    for row, key, distance in zip(*columns, strict=True):
        if key != sample.keys[row]:
            keys[row].append(key)
            scores[row].append(sign * distance)
    return Neighbours([some[:k] for some in keys], [some[:k] for some in scores])


def stored_sample(store: VectorStore, space: EmbeddingSpace, keys: Sequence[Any]) -> Sample:
    """Those of the keys that a version holds, with its vectors."""
    import pyarrow as pa

    kind = pa.string() if space.join_key.dtype == "String" else pa.int64()
    table = pa.table({space.join_key.name: pa.array(keys, kind)})
    stored = store.read(space.collection, table, [space.vector_field]).column(space.vector_field).to_pylist()
    held = [(key, vector) for key, vector in zip(keys, stored, strict=True) if vector is not None]
    vectors = np.asarray([vector for _, vector in held], np.float32)
    return Sample([key for key, _ in held], vectors.reshape(len(held), space.contract.dimension))


def recall(found: Neighbours, exact: Neighbours) -> float:
    """Mean share of the exact neighbours that were found; 1 where there are none.

    Items as near as the last exact neighbour stand for it: of items that share a vector, any is as good as another
    (Aumüller, Bernhardsson and Faithfull, ANN-Benchmarks, 2020).
    """
    shares = []
    for near, wanted in zip(found.scores, exact.scores, strict=True):
        if wanted:
            least = wanted[-1] - TIE * max(1.0, abs(wanted[-1]))
            shares.append(min(sum(score >= least for score in near), len(wanted)) / len(wanted))
    return float(np.mean(shares)) if shares else 1.0


def overlap(found: Sequence[Sequence[Any]], expected: Sequence[Sequence[Any]]) -> float:
    """Mean share of the expected neighbours that were found; 1 where nothing is expected."""
    shares = [len(set(a) & set(b)) / len(b) for a, b in zip(found, expected, strict=True) if b]
    return float(np.mean(shares)) if shares else 1.0


def _blocks(store: VectorStore, space: EmbeddingSpace) -> Any:
    for batch in store.scan(space.collection, [space.join_key.name, space.vector_field]):
        if batch.num_rows:
            column = batch.column(space.vector_field)
            vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
            yield batch.column(space.join_key.name).to_pylist(), vectors.astype(np.float32, copy=False)


def _scores(metric: str, queries: FloatArray, rows: FloatArray) -> FloatArray:
    """More is nearer: cosine, inner product, or minus the squared distance; float32 [queries, rows]."""
    if metric == "COSINE":
        queries = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    scores: FloatArray = (queries @ rows.T).astype(np.float32)
    if metric == "L2":
        scores = 2 * scores - (queries**2).sum(1)[:, None] - (rows**2).sum(1)[None, :]
    return scores
