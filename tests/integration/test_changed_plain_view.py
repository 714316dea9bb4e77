"""A plain view gets a field: collection and log take it on, and the next ingest fills it."""

from __future__ import annotations

from pathlib import Path

from connector import Connector
from tests.ready_shop import FEATURES, ROWS, goods, write_repository


def test_a_field_more(tmp_path: Path) -> None:
    features = FEATURES[: FEATURES.index("item_stats =")]
    stock = 'Field(name="stock", dtype=Int64)]'
    home = write_repository(tmp_path / "shop", features=features)
    with Connector(home) as connector:
        connector.apply()
        connector.ingest(goods(), entity="item")
        (home / "features.py").write_text(features.replace(stock, stock[:-1] + ', Field(name="brand", dtype=String)]'))
        connector.apply()
        connector.apply()
        features_of = connector._repository.feature_store.get_online_features
        asked = ["item_content:stock", "item_content:brand"]
        found = features_of(asked, [{"item_id": "i03"}]).to_dict()
        assert (found["stock"], found["brand"]) == ([3], [None])
        assert connector.reconcile("item_content").agrees
        connector.ingest(goods(), entity="item", spaces=["item_content"])
        assert features_of(asked, [{"item_id": "i03"}]).to_dict()["brand"] == ["b1"]
        report = connector.reconcile("item_content")
        (version,) = report.versions
        assert (report.agrees, version.rows, version.keys, version.stored) == (True, 2 * ROWS, ROWS, ROWS)
        collections = connector._repository.vector_store.list_collections()
        assert [name for name in collections if name.startswith("item_content")] == ["item_content__v2"]
