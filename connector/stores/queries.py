"""What a search is asked with: checked before it is sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connector.errors import QueryError
from connector.stores.base import CollectionSpec, VectorField
from connector.stores.layout import vector_column

MOST_HITS = 16_384
LEAST_EF = 64


def query_vectors(vector: VectorField, vectors: Any) -> NDArray[np.float32]:
    """Queries as float32 [q, dimension].

    Raises:
        QueryError: another shape, not numbers, NaN or infinity.
    """
    if isinstance(vectors, np.ndarray) and vectors.dtype == np.float32 and vectors.shape[1:] == (vector.dimension,):
        return _finite(vector, vectors)
    if isinstance(vectors, pa.ChunkedArray):
        vectors = vectors.combine_chunks()
    if isinstance(vectors, pa.FixedSizeListArray):
        vectors = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, vectors.type.list_size)
    try:
        queries = np.asarray(vectors)
    except (TypeError, ValueError) as error:
        raise QueryError(f"query vectors for {vector.name}: rows of different lengths") from error
    if queries.size == 0 and queries.ndim <= 2:
        queries = queries.astype(np.float32).reshape(-1, vector.dimension)
    if queries.dtype.kind not in "fiu":
        raise QueryError(f"query vectors for {vector.name}: expected float32, found {queries.dtype}")
    if queries.ndim != 2 or queries.shape[1] != vector.dimension:
        raise QueryError(
            f"query vectors for {vector.name}: expected [queries, {vector.dimension}], found {list(queries.shape)}"
        )
    with np.errstate(over="ignore"):
        return _finite(vector, np.ascontiguousarray(queries, dtype=np.float32))


def check_k(k: int) -> None:
    """Raise `QueryError` unless 1 ≤ k ≤ 16,384."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= MOST_HITS:
        raise QueryError(f"k must be a whole number from 1 to {MOST_HITS}, found {k!r}")


def search_params(vector: VectorField, k: int, params: dict[str, Any] | None) -> dict[str, Any]:
    """Milvus search parameters. HNSW's `ef` is 64 unless given, and never below k, which Milvus refuses."""
    chosen = dict(params or {})
    if vector.index.get("index_type", "HNSW") == "HNSW":
        chosen["ef"] = max(int(chosen.get("ef", LEAST_EF)), k)
    return {"metric_type": vector.metric, "params": chosen}


def search_schema(spec: CollectionSpec) -> dict[str, Any]:
    """What pymilvus must know of a collection to take queries as bytes."""
    from pymilvus import DataType

    return {"fields": [{"name": vector_column(spec), "type": DataType.FLOAT_VECTOR}]}


def _finite(vector: VectorField, queries: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(queries).all():
        raise QueryError(f"query vectors for {vector.name}: NaN or infinity")
    return queries
