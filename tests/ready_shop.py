"""A shop of ready vectors, so that every answer of a search can be computed by hand."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from connector.retrieval.fusion import Hit

ROWS = 60
SEED = 7

FEATURES = """\
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String, UnixTimestamp

from connector import content_view, embedding_view
from encoders.contract import external_contract

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)

shape = external_contract("shape", version=1, dimension=8, modality="image")
sound = external_contract("sound", version=1, dimension=4, modality="audio", metric="L2")

carried = [
    Field(name="kind", dtype=String),
    Field(name="price", dtype=Float64),
    Field(name="added", dtype=UnixTimestamp),
]
item_shape = embedding_view("item_shape", entity=item, contract=shape, vectors="shape", fields=carried)
item_sound = embedding_view(
    "item_sound", entity=item, contract=sound, vectors="sound",
    fields=[Field(name="kind", dtype=String), Field(name="brand", dtype=String)],
)
user_taste = embedding_view("user_taste", entity=user, contract=shape, vectors="taste")
item_content = content_view(
    "item_content", entity=item, fields=[Field(name="title", dtype=String), Field(name="stock", dtype=Int64)]
)
item_stats = FeatureView(
    name="item_stats", entities=[item], ttl=timedelta(0),
    schema=[Field(name="clicks_7d", dtype=Int64), Field(name="title", dtype=String)],
    source=FileSource(name="item_stats", path="data/stats.parquet", timestamp_field="event_timestamp"),
)
details = FeatureService(name="details", features=[item_content])
"""

FEATURE_STORE = """\
project: shop
provider: local
registry: data/registry.db
offline_store:
  type: dask
online_store:
  type: connector.stores.online.MilvusOnlineStore
  uri: {uri}
entity_key_serialization_version: 3
"""


def write_repository(folder: Path, *, uri: str = "data/milvus.db", features: str = FEATURES) -> Path:
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(FEATURE_STORE.format(uri=uri))
    (folder / "connector.yaml").write_text("triton: {mode: process}\n")
    (folder / "features.py").write_text(features)
    return folder


def goods() -> pa.Table:
    """Sixty things; every fifth has no sound, prices and kinds are known."""
    random = np.random.default_rng(SEED)
    sounds: list[Any] = random.normal(size=(ROWS, 4)).astype(np.float32).tolist()
    return pa.table(
        {
            "item_id": [f"i{n:02d}" for n in range(ROWS)],
            "title": [f"thing {n}" for n in range(ROWS)],
            "kind": [("cup", "hat", "shoe")[n % 3] for n in range(ROWS)],
            "brand": [f"b{n % 2}" for n in range(ROWS)],
            "price": [float(n) if n != 3 else None for n in range(ROWS)],
            "added": [datetime(2024, 1, 1 + n % 28, tzinfo=timezone.utc) for n in range(ROWS)],
            "stock": list(range(ROWS)),
            "shape": pa.array(random.normal(size=(ROWS, 8)).astype(np.float32).tolist(), pa.list_(pa.float32())),
            "sound": pa.array([None if n % 5 == 0 else sounds[n] for n in range(ROWS)], pa.list_(pa.float32())),
        }
    )


def cosines(query: Any) -> dict[str, float]:
    table = goods()
    shapes = np.array(table["shape"].to_pylist())
    scores = shapes @ query / np.linalg.norm(shapes, axis=1) / np.linalg.norm(query)
    return dict(zip(table["item_id"].to_pylist(), scores.tolist(), strict=True))


def distances(query: Any) -> dict[str, float]:
    table = goods()
    pairs = zip(table["item_id"].to_pylist(), table["sound"].to_pylist(), strict=True)
    return {key: -float(((np.array(sound) - query) ** 2).sum()) for key, sound in pairs if sound is not None}


def best(scores: dict[str, float]) -> list[Hit]:
    return [Hit(key, score) for key, score in sorted(scores.items(), key=lambda each: (-each[1], each[0]))]


QUERY = np.linspace(-1, 1, 8, dtype=np.float32)
SOUND = np.array([0.5, -0.5, 0.25, 1.0], np.float32)
