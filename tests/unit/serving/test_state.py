from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from connector.serving import state as states
from connector.serving.processes import start_token
from connector.serving.state import ServiceState, StackState


def alive_service(name: str = "milvus", data: str = "", **changes: object) -> ServiceState:
    pid, token = states.own_identity()
    service = ServiceState(name=name, pid=pid, token=token, ports={"grpc": 7}, ready=True, data=data)
    return replace(service, **changes)  # type: ignore[arg-type]


def stack(*services: ServiceState, token: str | None = None) -> StackState:
    pid, own = states.own_identity()
    return StackState(pid, own if token is None else token, "id", "mmc000000000000", {s.name: s for s in services})


def test_written_and_read_back(tmp_path: Path) -> None:
    written = stack(alive_service(), alive_service("triton", failures={"a/1": "no"}))
    path = states.state_path(tmp_path)
    states.write_state(path, written)
    assert states.read_state(path) == written
    assert states.running(tmp_path) == written
    assert json.loads(path.read_text())["milvus"] == {"uri": "http://127.0.0.1:7", "data": ""}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 99}', '{"format": 1, "services": 3}', "null"])
def test_an_unreadable_state_is_none(tmp_path: Path, content: str) -> None:
    path = states.state_path(tmp_path)
    path.parent.mkdir()
    path.write_text(content)
    assert states.read_state(path) is None
    assert states.running(tmp_path) is None


def test_a_dead_stack_is_cleaned_and_its_servers_ended(tmp_path: Path) -> None:
    database = tmp_path / "data" / "online.db"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as orphan:
        token = start_token(orphan.pid) or ""
        service = ServiceState(name="milvus", pid=orphan.pid, token=token, data=str(database), ports={"grpc": 7})
        states.write_marker(database, service)
        states.write_state(states.state_path(tmp_path), stack(service, token="of a process that is gone"))
        assert states.running_milvus(database) == "http://127.0.0.1:7"
        assert states.running(tmp_path) is None
        assert orphan.wait(5) != 0
    assert not states.state_path(tmp_path).exists()
    assert not states.marker_path(database).exists()


def test_a_stale_state_never_kills_a_recycled_pid(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        service = ServiceState(name="triton", pid=stranger.pid, token="of its predecessor")
        states.write_state(states.state_path(tmp_path), stack(service, token="gone"))
        assert states.running(tmp_path) is None
        assert stranger.poll() is None
        stranger.kill()


def test_running_milvus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "online.db"
    assert states.running_milvus(database) is None
    states.write_marker(database, alive_service())
    assert states.running_milvus(database) == "http://127.0.0.1:7"
    monkeypatch.chdir(tmp_path)
    assert states.running_milvus("online.db") == "http://127.0.0.1:7"
    states.write_marker(database, alive_service(token="another"))
    assert states.running_milvus(database) is None
    states.remove_marker(database)
    states.remove_marker(database)
    assert states.running_milvus(database) is None


@pytest.mark.parametrize("content", ["", "[]", '{"uri": "x"}', '{"uri": 1, "pid": "x", "token": ""}'])
def test_a_marker_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    states.marker_path(tmp_path / "online.db").write_text(content)
    assert states.running_milvus(tmp_path / "online.db") is None


def test_a_marker_never_leads_off_this_machine(tmp_path: Path) -> None:
    pid, token = states.own_identity()
    marker = {"uri": "http://elsewhere:1", "pid": pid, "token": token}
    states.marker_path(tmp_path / "online.db").write_text(json.dumps(marker))
    assert states.running_milvus(tmp_path / "online.db") is None


def test_running_triton_needs_a_ready_server(tmp_path: Path) -> None:
    path = states.state_path(tmp_path)
    assert states.running_triton(tmp_path) is None
    states.write_state(path, stack(alive_service("triton", ready=False)))
    assert states.running_triton(tmp_path) is None
    states.write_state(path, stack(alive_service("triton")))
    assert states.running_triton(tmp_path) == "127.0.0.1:7"
