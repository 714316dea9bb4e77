"""Users' vectors searched among items' vectors: what a sequence encoder is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import encoders
from connector.stores import MilvusVectorStore
from connector.stores.base import CollectionSpec, ScalarField, VectorField
from connector.testing.rows import shop_rows
from tests.unit.encoders import tiny_models

ITEMS = [f"i{item}" for item in range(9)]


@pytest.mark.parametrize("normalize", [True, False])
def test_the_users_vector_finds_the_items_that_score_highest(tmp_path: Path, normalize: bool) -> None:
    source = tiny_models.sequence(tmp_path / "tower", normalize=normalize)
    encoders.export(source, tmp_path / "encoder", name="next")
    with encoders.load(tmp_path / "encoder") as encoder:
        contract, items = encoder.contract, encoder.encode(ITEMS)
        users = encoder.encode([["i1", "i2"], ["i8", "i0", "i4"]], "query")
    spec = CollectionSpec(
        "next__v1",
        (ScalarField("item_id", "string"),),
        vector=VectorField("embedding", contract.dimension, contract.metric),
        contract_hash=contract.hash,
    )
    rows = shop_rows(ITEMS, vectors=items).select(["item_id", "embedding", "event_timestamp", "created_timestamp"])
    with MilvusVectorStore(str(tmp_path / "milvus.db")) as store:
        store.create(spec)
        store.write(spec.name, rows)
        hits = store.search(spec.name, users, 3).to_pydict()
    scores = users @ items.T
    for query in range(2):
        best = np.argsort(-scores[query])[:3]
        assert [i for i, q in zip(hits["item_id"], hits["query"], strict=True) if q == query] == [
            ITEMS[b] for b in best
        ]
