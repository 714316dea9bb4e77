"""A shop on a real server whose ingests are disturbed, and what must hold of it afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from connector import Connector
from connector.ingest import IngestReport, read_dead_letters
from connector.ingest.run_folder import unfinished_runs
from connector.stores import OfflineLog
from connector.testing.faults import Child, FileEvents
from connector.testing.milvus_server import MilvusServer
from tests.ready_shop import FEATURE_STORE

ROWS, PART_ROWS = 200, 60
VIEWS = ("item_content", "item_shape")
FEATURES = """\
from feast import Entity, Field, ValueType
from feast.types import Int64

from connector import content_view, embedding_view
from encoders.contract import external_contract

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
item_shape = embedding_view(
    "item_shape", entity=item, vectors="shape",
    contract=external_contract("shape", version=1, dimension=8, modality="image"),
    fields=[Field(name="stock", dtype=Int64)],
)
item_content = content_view("item_content", entity=item, fields=[Field(name="stock", dtype=Int64)])
"""
# Small parts, so that a run has many; a limit on the size of files stands for a disk that is full.
PROGRAM = f"""\
import resource
import sys

import connector.ingest.writer as writer
from connector import Connector

writer.PART_ROWS = {PART_ROWS}
verb, folder, limit, *rest = sys.argv[1:]
with Connector(folder) as shop:
    if int(limit):
        shop.spaces()
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    if verb == "ingest":
        print(shop.ingest(rest[0], entity="item"))
    else:
        shop.delete("item", rest)
"""


@dataclass
class Shop:
    """A Feast repository whose Milvus address is a variable, so that a proxy can stand before the server."""

    folder: Path
    scratch: Path
    uri: str

    @property
    def port(self) -> int:
        return int(self.uri.rsplit(":", 1)[1])

    def child(self, verb: str, *arguments: str, uri: str = "", limit: int = 0, dies: FileEvents | None = None) -> Child:
        """A process that ingests a catalogue, or deletes keys."""
        log = self.scratch / f"child{len(list(self.scratch.iterdir()))}.log"
        given = ["-c", PROGRAM, verb, str(self.folder), str(limit), *arguments]
        return Child(given, log=log, environment={"SHOP_MILVUS": uri or self.uri}, dies=dies)

    def catalogue(self, tag: str, **columns: Any) -> Path:
        """Rows of which some lack a vector and some have a stock that is none."""
        path = self.scratch / f"{tag}.parquet"
        random = np.random.default_rng(len(tag))
        shapes: list[Any] = random.normal(size=(ROWS, 8)).astype(np.float32).tolist()
        table = {
            "item_id": [f"{tag}-{n}" for n in range(ROWS)],
            "stock": ["many" if n % 11 == 4 else str(n) for n in range(ROWS)],
            "shape": pa.array([None if n % 7 == 2 else shapes[n] for n in range(ROWS)], pa.list_(pa.float32())),
            **columns,
        }
        pq.write_table(pa.table(table), path)
        return path

    def log(self, view: str) -> Path:
        return self.folder / "data" / (view if view == "item_content" else f"{view}__v1")

    def logged(self, view: str, prefix: str) -> list[dict[str, Any]]:
        log = OfflineLog(self.log(view))
        rows = [row for batch in log.read() for row in batch.to_pylist()]
        return [row for row in rows if row["item_id"].startswith(prefix)]

    def stored(self, shop: Connector, view: str, prefix: str) -> dict[str, Any]:
        batches = shop._repository.vector_store.scan(f"{view}__v1", ["item_id", "stock", "event_timestamp"])
        rows = [row for batch in batches for row in batch.to_pylist()]
        return {row["item_id"]: row for row in rows if row["item_id"].startswith(prefix)}


def make_shop(folder: Path, server: MilvusServer) -> Shop:
    """Applied and empty. The variable `SHOP_MILVUS` must name the server already."""
    home, scratch = folder / "shop", folder / "scratch"
    home.mkdir()
    scratch.mkdir()
    text = FEATURE_STORE.format(uri="${SHOP_MILVUS}")
    (home / "feature_store.yaml").write_text(text.replace("  uri:", f"  collection_prefix: {folder.name}_\n  uri:"))
    (home / "connector.yaml").write_text("triton: {mode: process}\ningest: {batch_rows: 20}\n")
    (home / "features.py").write_text(FEATURES)
    with Connector(home) as connector:
        connector.apply()
    return Shop(home, scratch, server.uri)


def expected_keys(tag: str) -> dict[str, set[str]]:
    """View → keys that a whole ingest of a catalogue leaves in it."""
    sound = {n for n in range(ROWS) if n % 11 != 4}
    return {
        "item_content": {f"{tag}-{n}" for n in sound},
        "item_shape": {f"{tag}-{n}" for n in sound if n % 7 != 2},
    }


def check_whole(shop: Shop, opened: Connector, report: IngestReport, tag: str, gone: Sequence[str] = ()) -> None:
    """No row lost, none twice, one time of all, the dead letters of an undisturbed run, nothing left lying about."""
    check_rows(shop, opened, tag, gone)
    for counts in report.views.values():
        assert counts.written + counts.stale + counts.absent + counts.dead == ROWS
    dead = read_dead_letters(str(report.dead_letter_path))
    bad = sorted(f"{tag}-{n}" for n in range(ROWS) if n % 11 == 4)
    assert sorted(row["key"] for row in dead.to_pylist()) == sorted([*bad, *bad])
    assert report.dead_letters == 2 * len(bad)
    check_tidy(shop)


def check_rows(shop: Shop, opened: Connector, tag: str, gone: Sequence[str] = ()) -> None:
    """Every row once in log and store, all of one time."""
    times = set()
    for view, keys in expected_keys(tag).items():
        rows = shop.logged(view, f"{tag}-")
        assert Counter(row["item_id"] for row in rows) == Counter(keys - set(gone)), view
        assert set(shop.stored(opened, view, f"{tag}-")) == keys - set(gone), view
        times |= {row[name] for row in rows for name in ("event_timestamp", "created_timestamp")}
        assert opened.reconcile(view).agrees, view
    assert len(times) == 1


def unfinished(shop: Shop) -> list[Any]:
    """Runs that an ingest would carry on."""
    return [run for view in VIEWS for run in unfinished_runs(str(shop.log(view)))]


def check_tidy(shop: Shop) -> None:
    """Nothing half written that a later run, or Feast, could trip over."""
    data = shop.folder / "data"
    assert unfinished(shop) == []
    left = [path.name for path in data.rglob("*") if path.suffix in (".tmp", ".merged", ".lock")]
    assert [name for name in left if not name.startswith(".promotion")] == []
