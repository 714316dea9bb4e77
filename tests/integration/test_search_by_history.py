"""A space of a sequence encoder: items by their vectors, asked by what a user has had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import encoders
from connector import Connector
from connector.errors import QueryError
from connector.serving import LocalTriton, publish
from connector.serving.environment import ServerEnvironment
from tests.ready_shop import FEATURE_STORE
from tests.unit.encoders import tiny_models

FEATURES = """\
from pathlib import Path

from feast import Entity, ValueType

from connector import embedding_view
from encoders import EncoderFolder
from encoders.contract import external_contract

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
NEXT = EncoderFolder.open(Path(__file__).parent / "models" / "next" / "1").contract
item_next = embedding_view("item_next", entity=item, contract=NEXT, vectors="vector")
item_shape = embedding_view(
    "item_shape", entity=item, contract=external_contract("shape", version=1, dimension=2, modality="image"),
    vectors="shape",
)
"""
ITEMS = [f"i{item}" for item in range(9)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "shop"
    made.mkdir()
    (made / "feature_store.yaml").write_text(FEATURE_STORE.format(uri="data/milvus.db"))
    (made / "connector.yaml").write_text("triton: {mode: process, model_repository: models}\n")
    (made / "features.py").write_text(FEATURES)
    (made / ".feastignore").write_text("models\n")
    publish(made / "models", tiny_models.sequence(tmp_path / "tower"), name="next", version=1)
    return made


def expected(folder: Path, history: list[str], k: int) -> list[str]:
    """By hand: the items with the highest inner products, those of the history left out."""
    with encoders.load(folder / "models" / "next" / "1") as encoder:
        scores = encoder.encode([history], "query")[0] @ encoder.encode(ITEMS).T
    return [ITEMS[place] for place in np.argsort(-scores) if ITEMS[place] not in history][:k]


def fill(connector: Connector, folder: Path) -> None:
    with encoders.load(folder / "models" / "next" / "1") as encoder:
        vectors = encoder.encode(ITEMS)
    rows = pa.table({"item_id": ITEMS, "vector": vectors.tolist(), "shape": [[1.0, float(n)] for n in range(9)]})
    assert connector.apply().problems == []
    report = connector.ingest(rows, entity="item")
    assert all(view.written == 9 for view in report.views.values())


def found(connector: Connector, **asked: Any) -> list[str]:
    return list(connector.search("item_next", **asked)["item_id"].to_pylist())


def test_what_a_user_has_had_finds_what_comes_next(folder: Path) -> None:
    with Connector(folder) as connector:
        fill(connector, folder)
        for history in (["i1", "i2"], ["i8", "i0", "i4", "i4"], ["i5"]):
            assert found(connector, history=history, k=4) == expected(folder, history, 4)
        # Ids that the encoder does not know are passed over, and still no hits.
        assert found(connector, history=["new", "i5"], k=20) == expected(folder, ["i5"], 20)
        with pytest.raises(QueryError, match="history cannot be encoded: none of the history's 1 items"):
            found(connector, history=["new"])
        with pytest.raises(
            QueryError, match=r"item_next cannot be queried by text; use history= or vector= or item_id="
        ):
            found(connector, text="red")
        with pytest.raises(QueryError, match=r"item_shape cannot be queried by history; use vector= or item_id="):
            connector.search("item_shape", history=["i1"])


@pytest.mark.triton
def test_through_triton_it_is_the_same(folder: Path, triton_environment: ServerEnvironment) -> None:
    with LocalTriton(folder / "models", triton_environment) as server:
        (folder / "connector.yaml").write_text(
            f"triton: {{mode: server, url: '{server.grpc_url}', model_repository: models}}\n"
        )
        with Connector(folder) as connector:
            fill(connector, folder)
            assert found(connector, history=["i3", "i7"], k=5) == expected(folder, ["i3", "i7"], 5)


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([], "from 1 to 10000 items, not 0"),
        ("i1", "a list of item ids"),
        ([None], "no item id"),
        ([True], "no item id"),
        ([["i1"]], "no item id"),
        (["i1"] * 10_001, "not 10001"),
        ({"items": ["i1"]}, "a list of item ids"),
    ],
)
def test_a_history_that_is_none(folder: Path, history: Any, message: str) -> None:
    with Connector(folder) as connector, pytest.raises(QueryError, match=message):
        connector.search("item_next", history=history)
