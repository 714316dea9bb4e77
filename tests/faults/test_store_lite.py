"""Milvus Lite, which dies with its writer, and one that two processes share."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.stores import MilvusEndpoint, MilvusVectorStore
from connector.testing.faults import Child, FileEvents, seeded_points
from connector.testing.milvus_server import _free_ports
from connector.testing.rows import shop_spec
from tests.faults.store_kit import check, tables, write
from tests.torture import POINTS, TORTURE

pytestmark = pytest.mark.timeout(3600)

SPEC = shop_spec("lite__v1")


def writer(uri: str, turn: int, log: Path, first: int = 0, step: int = 1, dies: FileEvents | None = None) -> Child:
    arguments = ["-m", "tests.faults.store_kit", uri, SPEC.name, str(turn), str(first), str(step)]
    return Child(arguments, log=log, dies=dies)


def test_a_writer_that_is_killed_between_its_files(tmp_path: Path) -> None:
    path, count = tmp_path / "milvus.db", tmp_path / "count"
    with MilvusVectorStore(str(path)) as store:
        store.create(SPEC)
    events = ("os.rename", "open", "os.remove")
    with writer(str(path), 0, tmp_path / "whole", dies=FileEvents(events, str(path), count_to=str(count))) as child:
        assert child.wait(120) == 0, child.output
    total = int(count.read_text())
    for turn, point in enumerate(seeded_points(total, POINTS if TORTURE else 2, seed=14), 1):
        dies = FileEvents(events, str(path), at=point)
        with writer(str(path), turn, tmp_path / f"kill{point}", dies=dies) as child:
            child.wait(120)
            assert child.killed, f"event {point} of {total}: {child.output}"
        with MilvusVectorStore(str(path)) as store:
            write(store, SPEC.name, tables(turn))
            check(store, SPEC.name, [table for earlier in range(turn + 1) for table in tables(earlier)])


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[str]:
    """URI of a Milvus Lite that serves several processes."""
    port = _free_ports(["one"])["one"]
    program = Path(sys.executable).with_name("milvus-lite")
    process = subprocess.Popen(
        [program, "server", "--data-dir", str(tmp_path / "milvus.db"), "--port", str(port), "--host", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_two_writers_on_a_shared_milvus_lite(shared: str, tmp_path: Path) -> None:
    with MilvusVectorStore(MilvusEndpoint(shared)) as store:
        store.create(SPEC)
        for turn in range(max(1, POINTS // 5)):
            writers = [writer(shared, turn, tmp_path / str(n), n, 2) for n in range(2)]
            try:
                assert [child.wait(120) for child in writers] == [0, 0], [child.output for child in writers]
            finally:
                for child in writers:
                    child.kill()
            check(store, SPEC.name, tables(turn))
