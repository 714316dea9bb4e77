"""Small seeded rows for the vector-store suite: every scalar type, nulls, and strings that try to break out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connector.stores.base import CollectionSpec, Metric, ScalarField, VectorField

DIMENSION = 8
NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
TIME = pa.timestamp("us", tz="UTC")

FIELDS = (
    ScalarField("title", "string"),
    ScalarField("price", "float64"),
    ScalarField("stock", "int64"),
    ScalarField("sold", "bool"),
    ScalarField("seen", "timestamp"),
    ScalarField("raw", "opaque"),
)
TYPES = {
    "title": pa.string(),
    "price": pa.float64(),
    "stock": pa.int64(),
    "sold": pa.bool_(),
    "seen": TIME,
    "raw": pa.binary(),
}

HOSTILE = (
    "it's",
    'say "hi"',
    "back\\slash",
    "ends in \\",
    "\\' or _key != '",
    '" or _key != "',
    "'; DROP TABLE items; --",
    "new\nline\r\ttab",
    "50% off_all",
    "{curly} $dollar",
    "日本語 é ü",
    "\U0001f457 dress",
    "\u2028 separator \u202e reversed",
    "control \x01\x1f\x7f",
    "",
    " ",
    "None",
    "null",
)


def shop_spec(name: str, metric: Metric = "COSINE", fields: Sequence[ScalarField] = FIELDS) -> CollectionSpec:
    """A collection keyed by one string, with a field of every type."""
    return CollectionSpec(
        name=name,
        keys=(ScalarField("item_id", "string"),),
        fields=tuple(fields),
        vector=VectorField("embedding", DIMENSION, metric, {"index_type": "HNSW", "M": 16, "efConstruction": 200}),
        contract_hash="0123456789abcdef",
    )


def some_vectors(rows: int, seed: int = 0) -> NDArray[np.float32]:
    """float32 [rows, DIMENSION], of differing lengths so that IP and COSINE differ."""
    random = np.random.default_rng(seed)
    lengths = random.uniform(0.5, 2, (rows, 1))
    return np.asarray(random.standard_normal((rows, DIMENSION)) * lengths, dtype=np.float32)


def shop_rows(
    keys: Sequence[Any],
    *,
    event: datetime | Sequence[datetime] = NOON,
    created: datetime | Sequence[datetime | None] | None = None,
    vectors: NDArray[np.float32] | None = None,
    **fields: Sequence[Any],
) -> pa.Table:
    """Rows of `shop_spec`; fields that are not given are null."""
    count = len(keys)
    columns: dict[str, Any] = {"item_id": pa.array(keys, pa.string())}
    for name, kind in TYPES.items():
        columns[name] = pa.array(fields.get(name, [None] * count), kind)
    values = some_vectors(count) if vectors is None else vectors
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    columns["event_timestamp"] = pa.array(event if isinstance(event, list) else [event] * count, TIME)
    columns["created_timestamp"] = pa.array(created if isinstance(created, list) else [created] * count, TIME)
    return pa.table(columns)


def mixed_rows(count: int = 120, seed: int = 7) -> pa.Table:
    """`count` rows with keys `i0`…, about a fifth of every field null, titles among them hostile."""
    random = np.random.default_rng(seed)
    words = ("red dress", "Red shoes", "blue dress", "shirt", "scarf", *HOSTILE)

    def some(values: Sequence[Any]) -> list[Any]:
        return [None if random.random() < 0.2 else value for value in values]

    return shop_rows(
        [f"i{row}" for row in range(count)],
        vectors=some_vectors(count, seed),
        event=[NOON + timedelta(hours=row) for row in range(count)],
        title=some([words[random.integers(len(words))] for _ in range(count)]),
        price=some([float(value) for value in random.choice([-1.5, 0.0, 0.1, 9.99, 50.0, 1e9], count)]),
        stock=some([int(value) for value in random.integers(-3, 4, count)]),
        sold=some([bool(value) for value in random.integers(0, 2, count)]),
        seen=some([NOON + timedelta(days=int(value)) for value in random.integers(-2, 3, count)]),
    )


def nearest(metric: Metric, vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """Exact distances of every row to one query, as the metric defines them."""
    rows, one = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "L2":
        return np.asarray(((rows - one) ** 2).sum(axis=1))
    product = rows @ one
    if metric == "IP":
        return np.asarray(product)
    return np.asarray(product / (np.linalg.norm(rows, axis=1) * np.linalg.norm(one)))
