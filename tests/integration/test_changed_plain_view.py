"""A plain view gets a field: collection and log take it on, and the next ingest fills it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector import Connector
from connector.errors import SchemaMismatchError
from connector.ingest import writer
from connector.stores import OfflineLog
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


PLAIN = """\
from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
trips = FeatureView(
    name="trips", entities=[driver], ttl=timedelta(0), schema=[Field(name="count", dtype={dtype})],
    source=FileSource(name="trips", path="data/trips.parquet", timestamp_field="event_timestamp"),
)
"""


def test_the_plan_says_what_apply_does(tmp_path: Path) -> None:
    now = datetime(2026, 5, 1, tzinfo=timezone.utc)
    home = write_repository(tmp_path / "shop", features=PLAIN.format(dtype="Int64"))
    rows = pa.table({"driver_id": [1, 2], "count": [3, 4], "event_timestamp": pa.array([now] * 2)})
    (home / "data").mkdir()
    pq.write_table(rows, home / "data" / "trips.parquet")
    with Connector(home) as connector:
        assert [change.change for change in connector.plan()] == ["new"]
        connector.apply()
        assert [change.change for change in connector.plan()] == ["unchanged"]
        connector._repository.feature_store.materialize(now - timedelta(days=1), now + timedelta(days=1))
        (home / "features.py").write_text(PLAIN.format(dtype="Float64"))
        (change,) = connector.plan()
        assert (change.change, "2 rows are copied" in change.detail) == ("migrated", True)
        (home / "features.py").write_text(PLAIN.format(dtype="String"))
        (change,) = connector.plan()
        with pytest.raises(SchemaMismatchError) as refused:
            connector.apply()
        assert (change.change, change.detail) == ("refused", str(refused.value))


def test_a_field_more_while_an_ingest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = FEATURES[: FEATURES.index("item_stats =")]
    stock = 'Field(name="stock", dtype=Int64)]'
    wider = features.replace(stock, stock[:-1] + ', Field(name="colour", dtype=String)]')
    home = write_repository(tmp_path / "shop", features=features)
    (home / "connector.yaml").write_text("triton: {mode: process}\ningest: {batch_rows: 8}\n")
    monkeypatch.setattr(writer, "PART_ROWS", 8)
    table = goods().append_column("colour", pa.array(["red"] * ROWS))
    append, parts = OfflineLog.append, []

    def append_after_apply(log: OfflineLog, rows: pa.Table, part: str) -> str:
        if log.folder.endswith("item_content"):
            parts.append(part)
            if len(parts) == 2:
                (home / "features.py").write_text(wider)
                with Connector(home) as beside:
                    beside.apply()
        return append(log, rows, part)

    with Connector(home) as connector:
        connector.apply()
        with monkeypatch.context() as patch:
            patch.setattr(OfflineLog, "append", append_after_apply)
            report = connector.ingest(table, entity="item", spaces=["item_content"])
        assert len(parts) > 2
        assert (report.views["item_content"].written, report.dead_letters) == (ROWS, 0)
        shapes = {tuple(pq.read_schema(path).names) for path in (home / "data" / "item_content").glob("*.parquet")}
        assert len(shapes) == 1
        assert "colour" in next(iter(shapes))
        assert connector.reconcile("item_content").agrees
        connector.ingest(table, entity="item", spaces=["item_content"])
        answer = connector._repository.feature_store.get_online_features(["item_content:colour"], [{"item_id": "i03"}])
        assert answer.to_dict()["colour"] == ["red"]
