"""Milvus Lite under the store: one process at a time, several stores in it, and what is said when that fails."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from connector.errors import ConfigurationError, StoreUnavailableError
from connector.stores import MilvusEndpoint, MilvusVectorStore, writing
from connector.testing.milvus_server import _free_ports
from connector.testing.rows import NOON, shop_rows, shop_spec, some_vectors

SPEC = shop_spec("items__v1")
KEY = pa.table({"item_id": ["a"]})

HOLD = """
import sys
from connector.stores import MilvusVectorStore
store = MilvusVectorStore(sys.argv[1])
print(store.list_collections(), flush=True)
sys.stdin.read()
store.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deeper" / "milvus.db"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the data open."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    yield process
    process.stdin.close()
    process.wait(30)
    process.stdout.close()


def test_rows_outlive_the_process_that_wrote_them(path: Path) -> None:
    with MilvusVectorStore(str(path)) as store:
        store.create(SPEC)
        store.set_alias("items", SPEC.name)
        store.write("items", shop_rows(["a"], title=["kept"]))
    with MilvusVectorStore(str(path)) as store:
        assert store.describe("items") == SPEC
        assert store.search("items", some_vectors(1), 3, columns=["title"]).column("title").to_pylist() == ["kept"]
        assert store.write("items", shop_rows(["a"], event=NOON - timedelta(days=1))).stale == 1


def test_stores_of_one_process_share_the_data(path: Path) -> None:
    first, second = MilvusVectorStore(str(path)), MilvusVectorStore(str(path))
    first.create(SPEC)
    assert second.list_collections() == [SPEC.name]
    first.close()
    first.close()
    assert second.list_collections() == [SPEC.name]
    assert first.list_collections() == [SPEC.name]
    first.close()
    second.close()
    process = subprocess.run(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert SPEC.name in process.stdout


def test_data_that_another_process_holds(
    path: Path, holder: subprocess.Popen[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StoreUnavailableError, match="another process has it open; run `connector up`") as error:
        MilvusVectorStore(str(path)).list_collections()
    assert "\n" not in str(error.value)
    assert "Traceback" not in capfd.readouterr().err


def test_nobody_at_the_address() -> None:
    port = _free_ports(["one"])["one"]
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=f"no Milvus at http://127.0.0.1:{port}") as error:
        MilvusVectorStore(MilvusEndpoint(f"http://127.0.0.1:{port}", timeout_s=2)).list_collections()
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 20


def test_an_address_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match=r"\.db"):
        MilvusVectorStore("milvus").list_collections()


def test_secrets_stay_out_of_messages() -> None:
    assert "hush" not in repr(MilvusEndpoint("http://host", token="root:hush", password="hush"))


def test_prefixes_keep_projects_apart(path: Path) -> None:
    with (
        MilvusVectorStore(MilvusEndpoint(str(path), prefix="a_")) as first,
        MilvusVectorStore(MilvusEndpoint(str(path), prefix="b_")) as second,
    ):
        for store, keys in ((first, ["a"]), (second, ["a", "b"])):
            store.create(SPEC)
            store.set_alias("items", SPEC.name)
            store.write("items", shop_rows(keys))
        assert (first.count("items"), second.count("items")) == (1, 2)
        first.drop(SPEC.name)
        assert first.list_collections() == []
        assert second.resolve_alias("items") == SPEC.name


def test_what_another_store_changed_is_noticed(path: Path) -> None:
    """Descriptions are kept, so an alias that moved or a collection made anew must not be answered from memory."""
    with MilvusVectorStore(str(path)) as ours, MilvusVectorStore(str(path)) as theirs:
        ours.create(SPEC)
        ours.set_alias("items", SPEC.name)
        ours.write("items", shop_rows(["a"]))
        other = shop_spec("items__v2", fields=[*SPEC.fields[:1]])
        theirs.create(other)
        theirs.set_alias("items", other.name)
        narrow = shop_rows(["b"]).select(["item_id", "title", "embedding", "event_timestamp"])
        assert ours.write("items", narrow).written == 1
        assert theirs.count(other.name) == 1
        assert ours.search("items", some_vectors(1), 3).column("item_id").to_pylist() == ["b"]
        theirs.drop(SPEC.name)
        theirs.create(shop_spec(SPEC.name, "L2"))
        assert ours.write(SPEC.name, shop_rows(["c"], event=NOON - timedelta(days=9))).written == 1


def test_another_stores_newer_row_is_kept(path: Path) -> None:
    with MilvusVectorStore(str(path)) as ours, MilvusVectorStore(str(path)) as theirs:
        ours.create(SPEC)
        ours.write(SPEC.name, shop_rows(["a"], event=NOON))
        theirs.write(SPEC.name, shop_rows(["a"], event=NOON + timedelta(hours=2), title=["theirs"]))
        time.sleep(1.1)
        result = ours.write(SPEC.name, shop_rows(["a"], event=NOON + timedelta(hours=1), title=["ours"]))
        assert (result.written, result.stale) == (0, 1)
        assert ours.read(SPEC.name, KEY, ["title"]).column("title").to_pylist() == ["theirs"]


def test_writers_in_several_threads(path: Path) -> None:
    with MilvusVectorStore(str(path)) as store:
        store.create(SPEC)
        errors: list[BaseException] = []

        def write(hour: int) -> None:
            try:
                event = NOON + timedelta(hours=hour)
                store.write(SPEC.name, shop_rows(["a", f"own {hour}"], event=event, title=[str(hour)] * 2))
            except BaseException as error:  # noqa: BLE001 - shown by the main thread
                errors.append(error)

        threads = [threading.Thread(target=write, args=(hour,)) for hour in (3, 7, 1, 5, 0, 6, 2, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert errors == []
        assert store.read(SPEC.name, KEY, ["title"]).column("title").to_pylist() == ["7"]
        assert store.count(SPEC.name) == 9


def test_batches_follow_one_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus Lite loses rows of writes that overlap when its process is killed afterwards."""
    send, lock, at_once, most = writing.upsert, threading.Lock(), 0, []

    def counted(*told: Any) -> None:
        nonlocal at_once
        with lock:
            at_once += 1
            most.append(at_once)
        send(*told)
        time.sleep(0.02)
        with lock:
            at_once -= 1

    monkeypatch.setattr(writing, "upsert", counted)
    with MilvusVectorStore(str(path)) as store:
        store.create(SPEC)
        keys = [f"k{number}" for number in range(9_000)]
        assert store.write(SPEC.name, shop_rows(keys, vectors=some_vectors(9_000))).written == 9_000
        assert store.count(SPEC.name) == 9_000
    assert len(most) > 3
    assert max(most) == 1


def test_what_was_acknowledged_outlives_a_kill(path: Path) -> None:
    script = """
import os, sys
from connector.stores import MilvusVectorStore
from connector.testing.rows import shop_rows, shop_spec, some_vectors
store = MilvusVectorStore(sys.argv[1])
store.create(shop_spec("items__v1"))
keys = [f"k{number}" for number in range(9_000)]
print(store.write("items__v1", shop_rows(keys, vectors=some_vectors(9_000))).written, flush=True)
os._exit(9)
"""
    killed = subprocess.run([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True, check=False)
    assert (killed.returncode, killed.stdout) == (9, "9000\n")
    with MilvusVectorStore(str(path)) as store:
        assert store.count(SPEC.name) == 9_000
