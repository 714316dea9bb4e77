"""A Milvus server that goes away: one line that says so, and nothing that hangs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil
import pyarrow as pa
import pytest

from connector.errors import StoreError, StoreUnavailableError
from connector.stores import MilvusEndpoint, MilvusVectorStore, scan
from connector.testing import MilvusServer
from connector.testing.milvus_server import ENVIRONMENT_VARIABLE
from connector.testing.rows import shop_rows, shop_spec, some_vectors
from tests.milvus_fixtures import milvus_environment

SPEC = shop_spec("outage__v1")

pytestmark = [pytest.mark.milvus_server, pytest.mark.timeout(900)]


@pytest.fixture
def server(milvus_server: MilvusServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """A server of its own; the shared one is asked for so that both are skipped together."""
    server = MilvusServer(tmp_path_factory.mktemp("outage"), milvus_environment())
    server.start()
    yield server
    server.remove()


def test_a_server_that_is_killed(server: MilvusServer) -> None:
    pid = server.pid
    with MilvusVectorStore(MilvusEndpoint(server.uri)) as patient:
        patient.create(SPEC)
    with MilvusVectorStore(MilvusEndpoint(server.uri, timeout_s=3, patience_s=3)) as store:
        store.write(SPEC.name, shop_rows(["a"]))
        server.kill()
        assert not psutil.pid_exists(pid)
        keys = pa.table({"item_id": ["a"]})
        for call in (
            lambda: store.search(SPEC.name, some_vectors(1), 3),
            lambda: store.write(SPEC.name, shop_rows(["b"])),
            lambda: store.read(SPEC.name, keys, ["title"]),
        ):
            started = time.monotonic()
            with pytest.raises(StoreUnavailableError) as error:
                call()
            assert "\n" not in str(error.value)
            assert time.monotonic() - started < 30


def test_a_scan_goes_on_when_the_collection_is_not_loaded_any_more(
    milvus_server: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart of the server: every page asks for it to be loaded, and goes on after the last one's keys."""
    monkeypatch.setattr(scan, "PAGE_BYTES", 64 * 1024)
    spec = shop_spec("unloaded__v1")
    keys = [f"k{number:03d}" for number in range(300)]
    with MilvusVectorStore(milvus_server.uri) as store:
        store.create(spec)
        store.write(spec.name, shop_rows(keys, title=["x" * 500] * len(keys)))
        client = store._opened().client
        client.release_collection(spec.name)
        found, pages = [], 0
        for batch in store.scan(spec.name, ["item_id", "title"], batch_rows=len(keys)):
            found += batch.column("item_id").to_pylist()
            pages += 1
            client.release_collection(spec.name)
        assert found == keys
        assert pages > 2
        store.drop(spec.name)


def test_a_refusal_is_one_line_and_leaves_no_traceback(
    milvus_server: MilvusServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with MilvusVectorStore(MilvusEndpoint(milvus_server.uri, db_name="no_such_database")) as store:
        with pytest.raises(StoreError) as error:
            store.list_collections()
        assert "\n" not in str(error.value)
    assert "Traceback" not in capfd.readouterr().err


def test_an_environment_without_the_wheel(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("nothing")
    with pytest.raises(StoreUnavailableError, match=ENVIRONMENT_VARIABLE):
        MilvusServer(folder / "data", folder).start()
