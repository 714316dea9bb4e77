"""Clocks that disagree: what is newer is said by the rows, never by the clock of who writes them or in what order."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from connector import Connector
from connector.ingest import IngestReport
from connector.stores import MilvusEndpoint, MilvusVectorStore
from connector.stores.recency import TRUSTED_S
from connector.testing.milvus_server import MilvusServer
from connector.testing.rows import DIMENSION, NOON, shop_rows, shop_spec
from tests.faults.ingest_shop import ROWS, VIEWS, Shop, check_tidy, make_shop
from tests.torture import POINTS

pytestmark = [pytest.mark.milvus_server, pytest.mark.timeout(3600)]

AHEAD = {"true": 0.0, "ahead": 86_400.0, "behind": -86_400.0}


def test_two_hosts_whose_clocks_are_a_day_apart(milvus_server: MilvusServer, tmp_path: Path) -> None:
    """Events repeat, so that created times of both clocks decide; each host knows nothing of the other's writes."""
    spec = shop_spec(f"{tmp_path.name}__v1")
    random = np.random.default_rng(31)
    newest: dict[str, tuple[int, int]] = {}
    with (
        MilvusVectorStore(MilvusEndpoint(milvus_server.uri, state_folder=tmp_path / "one")) as one,
        MilvusVectorStore(MilvusEndpoint(milvus_server.uri, state_folder=tmp_path / "other")) as other,
    ):
        one.create(spec)
        for turn in range(max(3, POINTS)):
            for store, day in ((one, 1), (other, -1)):
                keys = [f"k{key}" for key in random.permutation(30)[:20]]
                events = random.integers(0, 4 + turn, len(keys)).tolist()
                created = [day * 86_400 + turn] * len(keys)
                result = store.write(
                    spec.name,
                    shop_rows(
                        keys,
                        event=[NOON + timedelta(seconds=event) for event in events],
                        created=[NOON + timedelta(seconds=second) for second in created],
                        title=[f"{event} {second}" for event, second in zip(events, created, strict=True)],
                        vectors=np.ones((len(keys), DIMENSION), np.float32),
                    ),
                )
                fresh = 0
                for key, moment in zip(keys, zip(events, created, strict=True), strict=True):
                    fresh += moment >= newest.get(key, moment)
                    newest[key] = max(newest.get(key, moment), moment)
                assert (result.written, result.stale) == (fresh, len(keys) - fresh)
                time.sleep(TRUSTED_S)
        for store in (one, other):
            whole = pa.Table.from_batches(store.scan(spec.name, ["item_id", "title"])).to_pylist()
            assert {row["item_id"]: row["title"] for row in whole} == {
                key: f"{event} {second}" for key, (event, second) in newest.items()
            }
            assert len(whole) == len(newest)
        one.drop(spec.name)


def test_ingests_without_event_times_on_hosts_whose_clocks_disagree(
    tmp_path: Path, milvus_server: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a clock that is behind are older: counted as stale, kept in the log, and never put over newer ones."""
    monkeypatch.setenv("SHOP_MILVUS", milvus_server.uri)
    shop = make_shop(tmp_path, milvus_server)
    reports = {}
    for stock, host in enumerate(("true", "ahead", "true", "behind")):
        catalogue = shop.catalogue("goods", stock=[str(stock)] * ROWS)
        reports[stock] = _ingest(shop, catalogue, AHEAD[host], monkeypatch)
    sound = {view: reports[0].views[view].written for view in VIEWS}
    for stock, report in reports.items():
        for view, counts in report.views.items():
            assert (counts.written, counts.stale) == ((sound[view], 0) if stock < 2 else (0, sound[view]))
    with Connector(shop.folder) as opened:
        for view in VIEWS:
            stored = shop.stored(opened, view, "goods-")
            assert {row["stock"] for row in stored.values()} == {1}
            assert len(stored) == sound[view]
            logged = Counter(row["stock"] for row in shop.logged(view, "goods-"))
            assert logged == dict.fromkeys(range(4), sound[view])
            assert opened.reconcile(view).agrees
        check_tidy(shop)


def test_a_run_is_of_one_time_though_the_clock_is_set_back_while_it_is_down(
    tmp_path: Path, milvus_server: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_MILVUS", milvus_server.uri)
    shop = make_shop(tmp_path, milvus_server)
    catalogue = shop.catalogue("goods", stock=["1"] * ROWS)
    with monkeypatch.context() as patch:
        patch.setattr("connector.ingest.writer.PART_ROWS", 60)
        patch.setattr("connector.stores.milvus.MilvusVectorStore.write", _refuse)
        with pytest.raises(OSError, match="refused"):
            _ingest(shop, catalogue, AHEAD["ahead"], patch)
    _ingest(shop, catalogue, AHEAD["behind"], monkeypatch)
    with Connector(shop.folder) as opened:
        times = {row["event_timestamp"] for view in VIEWS for row in shop.logged(view, "goods-")}
        assert len(times) == 1
        assert min(times) > datetime.now(timezone.utc)
        for view in VIEWS:
            assert {row["event_timestamp"] for row in shop.stored(opened, view, "goods-").values()} == times
            assert opened.reconcile(view).agrees


def _ingest(shop: Shop, catalogue: Path, ahead: float, monkeypatch: pytest.MonkeyPatch) -> IngestReport:
    def clock(now: datetime | None) -> datetime:
        assert now is None
        return datetime.now(timezone.utc) + timedelta(seconds=ahead)

    with monkeypatch.context() as patch, Connector(shop.folder) as opened:
        patch.setattr("connector.ingest.pipeline._utc", clock)
        return opened.ingest(catalogue, entity="item")


def _refuse(*_: object) -> None:
    raise OSError("refused")
