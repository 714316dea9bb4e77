"""Starting, watching and ending a local Triton: what is left behind, and what is said when it does not start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from connector.errors import ServingError
from connector.serving import LocalTriton, TritonClient
from connector.serving.environment import ServerEnvironment
from connector.serving.processes import SHARED_MEMORY, extraction_folders, wait_until
from connector.serving.repository import MODEL_PY, write_model_files
from tests.triton_fixtures import probe_contract, processes_of, write_probe

pytestmark = pytest.mark.triton


def shared_memory() -> set[str]:
    return {path.name for path in SHARED_MEMORY.glob("mmc*")}


def test_nothing_is_left_after_stop(triton_environment: ServerEnvironment, tmp_path: Path) -> None:
    write_probe(tmp_path)
    before, folders = shared_memory(), extraction_folders()
    server = LocalTriton(tmp_path, triton_environment).start()
    assert server.start() is server
    supervisor, folder = server.supervisor_pid, server.log_path.parent
    assert len(processes_of(tmp_path)) == 2
    assert server.models() == {"probe/1": "READY"}
    assert shared_memory() - before
    assert extraction_folders() - folders
    server.stop()
    server.stop()
    assert not processes_of(tmp_path)
    assert not Path(f"/proc/{supervisor}").exists()
    assert not folder.exists()
    assert not shared_memory() - before
    assert not extraction_folders() - folders
    with pytest.raises(ServingError, match="not running"):
        _ = server.grpc_url


PARENT = textwrap.dedent(
    """
    import signal, sys, time
    from connector.serving import LocalTriton
    # A test run in the background of a shell ignores the signal, and its children with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    server = LocalTriton(sys.argv[1], sys.argv[2]).start()
    print(server.supervisor_pid, server.log_path.parent, flush=True)
    time.sleep(60)
    """
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_dead_parent_leaves_no_orphan(
    triton_environment: ServerEnvironment, tmp_path: Path, number: signal.Signals
) -> None:
    write_probe(tmp_path)
    before = shared_memory()
    command = [sys.executable, "-c", PARENT, str(tmp_path), str(triton_environment.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        try:
            supervisor, folder = parent.stdout.readline().split()
            assert len(processes_of(tmp_path)) == 2
            parent.send_signal(number)
            parent.wait(10)
        finally:
            parent.kill()
    assert wait_until(lambda: not processes_of(tmp_path), 10)
    assert wait_until(lambda: not Path(folder).exists() and not Path(f"/proc/{supervisor}/exe").exists(), 5)
    assert not shared_memory() - before


def test_a_killed_supervisor_takes_triton_along(triton_environment: ServerEnvironment, tmp_path: Path) -> None:
    write_probe(tmp_path)
    server = LocalTriton(tmp_path, triton_environment).start()
    try:
        os.kill(server.supervisor_pid, signal.SIGKILL)
        assert wait_until(lambda: not processes_of(tmp_path), 15)
    finally:
        server.stop()


def test_taken_ports_are_given_up_for_others(triton_environment: ServerEnvironment, tmp_path: Path) -> None:
    write_probe(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for kind in ("grpc", "http"):
            with LocalTriton(tmp_path, triton_environment, ports={kind: port}) as server:
                urls = {server.grpc_url, server.http_url, server.metrics_url}
                assert len(urls) == 3
                assert f"127.0.0.1:{port}" not in urls
                assert server.restarts == 0


def test_wished_ports_are_taken(triton_environment: ServerEnvironment, tmp_path: Path) -> None:
    from connector.serving.processes import free_ports

    write_probe(tmp_path)
    port = free_ports(1)[0]
    with LocalTriton(tmp_path, triton_environment, ports={"grpc": port}) as server:
        assert server.grpc_url == f"127.0.0.1:{port}"


def test_only_loopback_is_listened_on(probe_server: LocalTriton) -> None:
    import psutil

    listening = {
        c.laddr.ip.removeprefix("::ffff:")
        for c in psutil.Process(probe_server.pid).net_connections("inet")
        if c.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}


def test_a_model_that_does_not_load_is_named(triton_environment: ServerEnvironment, tmp_path: Path) -> None:
    write_probe(tmp_path)
    write_probe(tmp_path, probe_contract("stubborn"))
    (tmp_path / "stubborn" / "1" / "refuse").touch()
    with pytest.raises(ServingError, match=r"could not load model stubborn/1: .*the probe refuses to load") as caught:
        LocalTriton(tmp_path, triton_environment, log_folder=tmp_path / "logs").start()
    assert "\n" not in str(caught.value)
    assert not processes_of(tmp_path)
    assert "the probe refuses to load" in next((tmp_path / "logs").glob("triton-*.log")).read_text()


def test_an_encoder_that_is_not_exported_yet_stops_nobody(
    triton_environment: ServerEnvironment, tmp_path: Path
) -> None:
    write_probe(tmp_path)
    write_probe(tmp_path, probe_contract("later"))
    (tmp_path / "later" / "1" / "model.onnx").unlink()
    (tmp_path / "later" / "1" / "refuse").touch()
    with LocalTriton(tmp_path, triton_environment) as server:
        assert server.models() == {"later/1": "UNAVAILABLE", "probe/1": "READY"}


def test_a_server_that_cannot_start_says_why(triton_environment: ServerEnvironment, tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="no model repository there"):
        LocalTriton(tmp_path / "absent", triton_environment).start()
    write_probe(tmp_path)
    with pytest.raises(ServingError, match=r"triton did not start: not ready after .* s"):
        LocalTriton(tmp_path, triton_environment, ready_timeout_s=0.05).start()
    assert not processes_of(tmp_path)


def test_a_reload_takes_up_what_was_published(triton_environment: ServerEnvironment, tmp_path: Path) -> None:
    write_probe(tmp_path)
    with LocalTriton(tmp_path, triton_environment) as server:
        write_probe(tmp_path, probe_contract(version=2))
        write_probe(tmp_path, probe_contract("second", dimension=4))
        url = server.grpc_url
        server.reload()
        assert server.grpc_url == url
        with TritonClient(url) as client:
            assert [c.label for c in client.contracts()] == [
                probe_contract().label,
                probe_contract(version=2).label,
                probe_contract("second", dimension=4).label,
            ]
            assert client.encoder(probe_contract(version=2)).encode(["a"]).shape == (1, 8)


def test_versions_of_different_dimension(triton_environment: ServerEnvironment, tmp_path: Path) -> None:
    write_probe(tmp_path)
    write_probe(tmp_path, probe_contract(version=2, dimension=5))
    with LocalTriton(tmp_path, triton_environment) as server, TritonClient(server.grpc_url) as client:
        assert client.encoder(probe_contract()).encode(["a"]).shape == (1, 8)
        assert client.encoder(probe_contract(version=2, dimension=5)).encode(["a"]).shape == (1, 5)


def test_the_server_takes_encoders_from_this_checkout(triton_environment: ServerEnvironment, tmp_path: Path) -> None:
    write_probe(tmp_path)
    model = tmp_path / "probe" / "1" / "model.py"
    lines = MODEL_PY.splitlines()
    assert any(line.startswith("from encoders.triton_model import TritonPythonModel") for line in lines)
    kept = "\n".join(line for line in lines if not line.startswith(("from encoders", "__all__")))
    model.write_text(f"{kept}\nimport encoders\nprint('ENCODERS', encoders.__path__, flush=True)\n{model.read_text()}")
    write_model_files(tmp_path, "probe")
    with LocalTriton(tmp_path, triton_environment) as server:
        line = next(line for line in server.log_path.read_text().splitlines() if line.startswith("ENCODERS"))
        folder = Path(line.split("'")[1])
        assert folder.name == "encoders"
        assert folder.parent.name == "python"
        import encoders

        assert folder.resolve() == Path(next(iter(encoders.__path__))).resolve()


def test_a_crash_loop_ends(triton_environment: ServerEnvironment, tmp_path: Path) -> None:
    """A server that dies again and again is given up, and says so."""
    from connector.serving.launch import Identity, triton_service
    from connector.serving.service import SupervisedService

    write_probe(tmp_path / "models")
    identity = Identity()
    spec = triton_service(
        triton_environment, tmp_path / "models", tmp_path / "run", tmp_path / "log", identity, grace_s=0.0
    )
    service = SupervisedService(spec, identity.server_id, identity.shm_prefix, ready_timeout_s=30, max_restarts=1)
    service.start()
    try:
        for _ in range(2):
            assert watched_until(service, ready=True)
            os.kill(service.state().pid, signal.SIGKILL)
            assert watched_until(service, ready=False)
        state = service.state()
        assert state.restarts == 1
        assert "SIGKILL; given up after 1 restarts" in state.error
    finally:
        service.stop()


def watched_until(service: object, *, ready: bool) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        service.tick()  # type: ignore[attr-defined]
        if service.state().ready == ready:  # type: ignore[attr-defined]
            return True
        time.sleep(0.02)
    return False
