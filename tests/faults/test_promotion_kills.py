"""SIGKILL at seeded points of a promotion and of a rollback: one whole version serves, and the next try finishes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from connector import Connector
from connector.testing.faults import Child, FileEvents, KillingProxy, seeded_points
from connector.testing.milvus_server import MilvusServer
from tests.ready_shop import FEATURE_STORE
from tests.torture import POINTS

pytestmark = [pytest.mark.milvus_server, pytest.mark.timeout(3600)]

ROWS = 60
FEATURES = """\
from feast import Entity, ValueType

from connector import embedding_view
from encoders.contract import external_contract

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
item_shape = embedding_view(
    "item_shape", entity=item, vectors="shape{version}",
    contract=external_contract("shape", version={version}, dimension={dimension}, modality="image"),
)
"""
MOVE = """\
import sys
from connector import Connector
with Connector(sys.argv[1]) as connector:
    getattr(connector, sys.argv[2])("item_shape")
"""


@dataclass
class Shop:
    """A repository with two filled versions on a real server, reached through `uri`."""

    folder: Path
    port: int

    def open(self) -> Connector:
        return Connector(self.folder)

    def move(self, verb: str, log: Path, uri: str, dies: FileEvents | None = None) -> Child:
        return Child(["-c", MOVE, str(self.folder), verb], log=log, environment={"SHOP_MILVUS": uri}, dies=dies)


@pytest.fixture
def shop(
    tmp_path_factory: pytest.TempPathFactory, milvus_server: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    folder = tmp_path_factory.mktemp("kills") / "shop"
    folder.mkdir()
    monkeypatch.setenv("SHOP_MILVUS", milvus_server.uri)
    text = FEATURE_STORE.format(uri="${SHOP_MILVUS}")
    (folder / "feature_store.yaml").write_text(
        text.replace("  uri:", f"  collection_prefix: {folder.parent.name}_\n  uri:")
    )
    (folder / "connector.yaml").write_text("triton: {mode: process}\n")
    random = np.random.default_rng(0)
    rows = pa.table(
        {
            "item_id": [f"i{n}" for n in range(ROWS)],
            "shape1": pa.array(random.normal(size=(ROWS, 8)).astype(np.float32).tolist()),
            "shape2": pa.array(random.normal(size=(ROWS, 12)).astype(np.float32).tolist()),
        }
    )
    with Connector(folder) as connector:
        for version, dimension in ((1, 8), (2, 12)):
            (folder / "features.py").write_text(FEATURES.format(version=version, dimension=dimension))
            connector.apply()
            connector.ingest(rows, entity="item")
    return Shop(folder, int(milvus_server.uri.rsplit(":", 1)[1]))


def check(shop: Shop, verb: str) -> None:
    """Whole wherever a reader looks; then the same command again ends where an undisturbed one does."""
    before, after = ("1", "2") if verb == "promote" else ("2", "1")
    with shop.open() as connector:
        states = {each.label: each for each in connector.versions("item_shape")}
        assert {each.rows for each in states.values()} == {ROWS}
        assert sum(each.aliased for each in states.values()) == 1
        serving = next(label for label, each in states.items() if each.state == "serving")
        assert connector.search("item_shape", item_id="i3", k=5).num_rows == 5
        if serving == before:
            getattr(connector, verb)("item_shape")
        assert [(each.label, each.state == "serving", each.aliased) for each in connector.versions("item_shape")] == [
            (label, label == after, label == after) for label in ("1", "2")
        ]


def back(shop: Shop, verb: str) -> None:
    with shop.open() as connector:
        connector.rollback("item_shape") if verb == "promote" else connector.promote("item_shape")


@pytest.mark.parametrize("verb", ["promote", "rollback"])
def test_killed_between_its_calls_of_milvus(shop: Shop, verb: str, tmp_path: Path) -> None:
    if verb == "rollback":
        back(shop, "rollback")
    with (
        KillingProxy(shop.port) as proxy,
        shop.move(verb, tmp_path / "whole", proxy.uri) as child,
    ):
        assert child.wait(120) == 0, child.output
        total = proxy.requests
    back(shop, verb)
    for point in seeded_points(total, POINTS, seed=5):
        with KillingProxy(shop.port) as proxy, shop.move(verb, tmp_path / f"kill{point}", proxy.uri) as child:
            proxy.kill_after(requests=point, pid=child.pid)
            child.wait(120)
            assert child.killed, f"request {point} of {total}: {child.output}"
        check(shop, verb)
        back(shop, verb)


@pytest.mark.parametrize("verb", ["promote", "rollback"])
def test_killed_between_its_writes_of_the_registry(
    shop: Shop, verb: str, tmp_path: Path, milvus_server: MilvusServer
) -> None:
    if verb == "rollback":
        back(shop, "rollback")
    events = ("os.rename", "open", "os.remove")
    counted = FileEvents(events, under=str(shop.folder / "data"), count_to=str(tmp_path / "count"))
    with shop.move(verb, tmp_path / "whole", milvus_server.uri, counted) as child:
        assert child.wait(120) == 0, child.output
    total = int((tmp_path / "count").read_text())
    back(shop, verb)
    for point in seeded_points(total, POINTS, seed=6):
        dies = FileEvents(events, under=str(shop.folder / "data"), at=point)
        with shop.move(verb, tmp_path / f"kill{point}", milvus_server.uri, dies) as child:
            child.wait(120)
            assert child.killed, f"event {point} of {total}: {child.output}"
        check(shop, verb)
        back(shop, verb)
