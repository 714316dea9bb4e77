"""The Connector on a real Milvus server: the same answers as on Milvus Lite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector import Connector
from connector.retrieval.fusion import reciprocal_rank_fusion
from connector.testing.milvus_server import MilvusServer
from tests.ready_shop import QUERY, ROWS, SOUND, best, cosines, distances, goods, write_repository

pytestmark = pytest.mark.milvus_server


def repository(folder: Path, server: MilvusServer) -> Path:
    """A repository whose collections bear the folder's name, so that tests keep apart on one server."""
    file = write_repository(folder, uri=server.uri) / "feature_store.yaml"
    file.write_text(file.read_text().replace("  uri:", f"  collection_prefix: {folder.name}_\n  uri:"))
    return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, milvus_server: MilvusServer) -> Iterator[Connector]:
    with Connector(repository(tmp_path_factory.mktemp("server") / "connector_shop", milvus_server)) as connector:
        connector.apply()
        assert connector.ingest(goods(), entity="item").views["item_shape"].written == ROWS
        yield connector


def test_nearest_first(shop: Connector) -> None:
    expected = best(cosines(QUERY))[:10]
    table = shop.search("item_shape", vector=QUERY, k=10, search_params={"ef": 200})
    assert table["item_id"].to_pylist() == [hit.key for hit in expected]
    assert table["score"].to_pylist() == pytest.approx([hit.score for hit in expected], abs=1e-5)
    near = shop.search("item_sound", vector=SOUND, k=5)
    assert near["item_id"].to_pylist() == [hit.key for hit in best(distances(SOUND))[:5]]


def test_filters_fusion_and_features(shop: Connector) -> None:
    kept = shop.search("item_shape", vector=QUERY, k=ROWS, where="price < 10 AND kind <> 'hat'")
    assert set(kept["item_id"].to_pylist()) == {
        row["item_id"] for row in goods().to_pylist() if (row["price"] or 99) < 10 and row["kind"] != "hat"
    } | {"i00"}
    weights = {"item_sound": 0.4, "item_shape": 0.6}
    fused = shop.search(weights, item_id="i01", k=ROWS, features=["item_content:stock"])
    shape, sound = (goods()[name][1].as_py() for name in ("shape", "sound"))
    lists = {"item_shape": best(cosines(shape)), "item_sound": best(distances(sound))}
    lists = {name: [hit for hit in hits if hit.key != "i01"] for name, hits in lists.items()}
    assert fused["item_id"].to_pylist() == [hit.key for hit in reciprocal_rank_fusion(lists, weights)]
    assert fused["stock"].to_pylist() == [int(key[1:]) for key in fused["item_id"].to_pylist()]


def test_what_was_just_written_is_found_at_once(tmp_path: Path, milvus_server: MilvusServer) -> None:
    with Connector(repository(tmp_path / "connector_fresh", milvus_server)) as connector:
        connector.apply()
        for key, vector in (("first", [9.0, -9.0] * 4), ("second", [-9.0, 9.0] * 4)):
            row = {**goods().slice(0, 1).to_pylist()[0], "item_id": key, "shape": vector}
            connector.ingest([row], entity="item", spaces=["item_shape"])
            assert connector.search("item_shape", vector=vector, k=1)["item_id"].to_pylist() == [key]
