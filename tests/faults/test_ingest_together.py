"""Two ingests at once into one space: of two catalogues both are whole, of one catalogue only one process has it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from connector import Connector
from connector.testing.milvus_server import MilvusServer
from tests.faults.ingest_shop import ROWS, VIEWS, check_tidy, check_whole, expected_keys, make_shop

pytestmark = [pytest.mark.milvus_server, pytest.mark.timeout(900)]

OLD = datetime(2026, 1, 1, tzinfo=timezone.utc)


def test_two_processes(tmp_path: Path, milvus_server: MilvusServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_MILVUS", milvus_server.uri)
    shop = make_shop(tmp_path, milvus_server)
    stamps = {n: pa.array([OLD + timedelta(days=(row + n) % 2) for row in range(ROWS)]) for n in (0, 1)}
    whole = [str(row) for row in range(ROWS)]
    ids = [f"both-{row}" for row in range(ROWS)]
    first = shop.catalogue("first", item_id=ids, stock=whole, event_timestamp=stamps[0])
    second = shop.catalogue("second", item_id=ids, stock=["7"] * ROWS, event_timestamp=stamps[1])
    with shop.child("ingest", str(first)) as one, shop.child("ingest", str(second)) as other:
        assert (one.wait(300), other.wait(300)) == (0, 0), one.output + other.output
    with Connector(shop.folder) as opened:
        for view in VIEWS:
            rows = shop.logged(view, "both-")
            assert set(Counter((row["item_id"], row["event_timestamp"]) for row in rows).values()) == {1}
            stored = shop.stored(opened, view, "both-")
            assert {row["event_timestamp"] for row in stored.values()} == {OLD + timedelta(days=1)}
            for key, row in stored.items():
                number = int(key.removeprefix("both-"))
                assert row["stock"] == (number if number % 2 else 7), key  # the newer of the two events
            assert opened.reconcile(view).agrees
        check_tidy(shop)
    same = shop.catalogue("same")
    with shop.child("ingest", str(same)) as one, shop.child("ingest", str(same)) as other:
        codes = {one.wait(300): one.output, other.wait(300): other.output}
    assert codes.keys() <= {0, 1}
    assert 0 in codes
    if 1 in codes:
        assert "another process is ingesting it" in codes[1]
    with Connector(shop.folder) as opened:
        for view, keys in expected_keys("same").items():
            rows = shop.logged(view, "same-")
            assert {row["item_id"] for row in rows} == set(shop.stored(opened, view, "same-")) == keys
            assert set(Counter((row["item_id"], row["event_timestamp"]) for row in rows).values()) == {1}
        report = opened.ingest(shop.catalogue("next"), entity="item")
        check_whole(shop, opened, report, "next")
