"""Search through Feast's online store: by vector, by words, or by both.

`FeatureStore.retrieve_online_documents_v2` puts features beside keys by the rank of each key, so only rows that arrive
in the order of their keys come out beside their own; `distance` and `text_rank` say how near each is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import fsum
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from connector.errors import QueryError
from connector.spaces import EVENT_TIMESTAMP
from connector.stores.base import CollectionSpec, VectorField, VectorStore
from connector.stores.entity_keys import entity_keys
from connector.stores.feast_values import proto_types, to_protos
from connector.stores.filters import Filter
from connector.stores.online_rows import event_times, features
from connector.stores.queries import MOST_HITS, check_k
from connector.stores.specs import METRICS

if TYPE_CHECKING:
    from feast import FeatureView
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

Document = tuple[datetime | None, "EntityKey | None", dict[str, "Value"] | None]
FirstDocument = tuple[datetime | None, "EntityKey | None", "Value | None", "Value | None", "Value | None"]

DISTANCE, TEXT_RANK = "distance", "text_rank"
OF_RESULTS = frozenset({DISTANCE, TEXT_RANK, "query", "score"})
"""Names that a search gives to what it finds out; a feature of such a name is for `online_read` only."""
RRF_CONSTANT = 60
LEAST_CANDIDATES, CANDIDATES_PER_HIT = 50, 4


@dataclass(frozen=True)
class Search:
    """One search of one view.

    Attributes:
        collection: collection or alias to search.
        embedding: query vector, or None.
        words: keyword query; empty for none.
        params: index search parameters.
    """

    view: FeatureView
    spec: CollectionSpec
    collection: str
    embedding: Sequence[float] | None
    words: str
    k: int
    where: Filter | None = None
    params: dict[str, Any] | None = None


def check_metric(view: FeatureView, vector: VectorField | None, metric: str | None) -> None:
    """Raise `QueryError` where the view has no vector, or another metric is asked for than its own."""
    if vector is None:
        raise QueryError(f"feature view {view.name} has no vector to search by")
    if metric and METRICS.get(metric.upper()) != vector.metric:
        raise QueryError(
            f"feature view {view.name} is searched by {vector.metric}, not {metric}; "
            "declare vector_search_metric on its field"
        )


def find_documents(store: VectorStore, search: Search, requested: Sequence[str]) -> list[Document]:
    """Hits with their features, `distance` (where there is a query vector) and `text_rank` (BM25, where words were
    found), in the order of their entity keys.

    Raises:
        QueryError: no query, an unknown feature, or keyword search that the server or the view does not have.
    """
    names = _known(search, requested)
    hits = _hits(store, search, [*names, EVENT_TIMESTAMP])
    scores = {
        name: to_protos("Float32", hits.column(name)) for name in (DISTANCE, TEXT_RANK) if name in hits.schema.names
    }
    rows = features(search.view, hits, names)
    for name, values in scores.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    keys = entity_keys(search.view, search.spec, hits)
    documents = list(zip(event_times(hits), keys, rows, strict=True))
    ranks = _keys(hits, [key.name for key in search.spec.keys])
    return [documents[place] for place in sorted(range(len(ranks)), key=ranks.__getitem__)]


def find_first_documents(store: VectorStore, search: Search, requested: Sequence[str]) -> list[FirstDocument]:
    """The older form of the call: time, key, the first requested feature, stored vector, distance; nearest first."""
    vector = search.spec.vector
    assert vector is not None  # noqa: S101 - checked with the metric
    names = _known(search, requested) or [vector.name]
    hits = _hits(store, search, list(dict.fromkeys((names[0], vector.name, EVENT_TIMESTAMP))))
    rows = features(search.view, hits, [names[0]])
    vectors = to_protos(proto_types(search.view)[vector.name], hits.column(vector.name))
    return list(
        zip(
            event_times(hits),
            entity_keys(search.view, search.spec, hits),
            [row[names[0]] for row in rows],
            vectors,
            to_protos("Float32", hits.column(DISTANCE)),
            strict=True,
        )
    )


def _known(search: Search, requested: Sequence[str]) -> list[str]:
    """What to read; keys may be asked for as features are, as Feast's own examples do."""
    able = [*(f.name for f in search.view.features), *(key.name for key in search.spec.keys)]
    names = [name for name in dict.fromkeys(requested) if name not in (DISTANCE, TEXT_RANK) or name in able]
    for name in names:
        if name in OF_RESULTS and name in able:
            raise QueryError(
                f"feature view {search.view.name}: feature {name!r} is called as a column of search results is; "
                "read it by get_online_features, or call it otherwise"
            )
        if name not in able:
            raise QueryError(f"feature view {search.view.name} has no feature {name!r}; it has {', '.join(able)}")
    return names


def _hits(store: VectorStore, search: Search, columns: list[str]) -> pa.Table:
    check_k(search.k)
    if not search.words:
        return _by_vector(store, search, columns, search.k)
    if search.embedding is None:
        found = store.search_words(search.collection, search.words, search.k, where=search.where, columns=columns)
        return found.rename_columns([TEXT_RANK if name == "score" else name for name in found.column_names])
    return _by_both(store, search, columns)


def _by_vector(store: VectorStore, search: Search, columns: list[str], k: int) -> pa.Table:
    return store.search(
        search.collection, [search.embedding], k, where=search.where, columns=columns, params=search.params
    ).drop_columns(["query"])


def _by_both(store: VectorStore, search: Search, columns: list[str]) -> pa.Table:
    """Both searches, fused by reciprocal rank; a hit of the words alone gets its distance from its stored vector."""
    vector = search.spec.vector
    assert vector is not None  # noqa: S101 - checked with the metric
    depth = min(max(CANDIDATES_PER_HIT * search.k, LEAST_CANDIDATES), MOST_HITS)
    near = _by_vector(store, search, columns, depth)
    with_vector = list(dict.fromkeys((*columns, vector.name)))
    worded = store.search_words(search.collection, search.words, depth, where=search.where, columns=with_vector)
    keys = [key.name for key in search.spec.keys]
    lists = [_keys(table, keys) for table in (near, worded)]
    places = [{key: place for place, key in enumerate(each)} for each in lists]
    fused = {
        key: fsum(1.0 / (RRF_CONSTANT + 1 + each[key]) for each in places if key in each)
        for key in dict.fromkeys((*lists[0], *lists[1]))
    }
    chosen = sorted(fused, key=lambda key: (-fused[key], key))[: search.k]
    only = [place for key, place in places[1].items() if key not in places[0]]
    extra = worded.take(pa.array(only, pa.int64()))
    far = _distances(vector, extra.column(vector.name), search.embedding)
    extra = extra.append_column(DISTANCE, pa.array(far, pa.float32())).select(near.column_names)
    table = pa.concat_tables([near, extra])
    scores = worded.column("score").to_pylist()
    ranks = [scores[places[1][key]] if key in places[1] else None for key in _keys(table, keys)]
    table = table.append_column(TEXT_RANK, pa.array(ranks, pa.float32()))
    order = {key: place for place, key in enumerate(_keys(table, keys))}
    return table.take(pa.array([order[key] for key in chosen], pa.int64()))


def _keys(table: pa.Table, names: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def _distances(vector: VectorField, column: pa.ChunkedArray, query: Any) -> Any:
    """As the metric defines it: COSINE and IP higher is nearer, L2 squared."""
    rows = np.asarray(column.to_pylist(), np.float64).reshape(-1, vector.dimension)
    one = np.asarray(query, np.float64)
    if vector.metric == "L2":
        return ((rows - one) ** 2).sum(axis=1)
    product = rows @ one
    if vector.metric == "IP":
        return product
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(one)
    return np.divide(product, lengths, out=np.zeros_like(product), where=lengths > 0)
