"""`connector up`, `down`, `status` on a small feature repository, as a user's shell calls them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.config import TritonSettings
from connector.errors import ConfigurationError, ServingError
from connector.serving import EncoderProvider, running_milvus, stack
from connector.serving.environment import VARIABLE, ServerEnvironment
from connector.serving.processes import is_alive, wait_until
from connector.serving.state import read_state, running_triton, state_path
from tests.triton_fixtures import probe_contract, probe_vector, processes_of, write_probe

pytestmark = pytest.mark.triton

FEATURE_STORE = """
project: small
provider: local
registry: data/registry.db
online_store:
  type: connector.stores.online.MilvusOnlineStore
  uri: data/online.db
"""


@pytest.fixture
def repository(
    tmp_path: Path, triton_environment: ServerEnvironment, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    monkeypatch.setenv(VARIABLE, str(triton_environment.root))
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(FEATURE_STORE)
    write_probe(folder / "triton_models")
    yield folder
    stack.down(folder)
    assert not processes_of(folder)


def command(*arguments: str, folder: Path) -> tuple[int, str, str]:
    program = "import sys; from connector.cli import main; sys.argv[0] = 'connector'; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def as_json(*arguments: str, folder: Path, code: int = 0) -> Any:
    returned, output, errors = command(*arguments, "--json", folder=folder)
    assert returned == code, errors
    return json.loads(output)


def test_up_status_down(repository: Path) -> None:
    assert command("status", folder=repository)[0] == 1
    report = as_json("up", folder=repository)
    assert report["ready"]
    servers = {server["name"]: server for server in report["servers"]}
    assert set(servers) == {"triton", "milvus"}
    assert report["models"] == [
        {
            "name": "probe",
            "version": 1,
            "state": "READY",
            "contract_hash": probe_contract().hash,
            "reason": "",
        }
    ]
    assert Path(servers["triton"]["log"]) == repository / ".connector" / "logs" / "triton.log"

    again = as_json("up", folder=repository)
    assert [server["pid"] for server in again["servers"]] == [server["pid"] for server in report["servers"]]
    code, output, _ = command("status", folder=repository)
    assert code == 0
    assert "READY" in output
    assert running_milvus(repository / "data" / "online.db") == servers["milvus"]["url"]

    with_provider(repository, f"encoders run on Triton at {servers['triton']['url']}, the local stack")

    assert as_json("down", folder=repository) == {"stopped": True}
    assert not processes_of(repository)
    assert not any(Path(f"/proc/{server['pid']}").exists() for server in report["servers"])
    assert running_milvus(repository / "data" / "online.db") is None
    assert not state_path(repository).exists()
    assert sorted(path.name for path in (repository / ".connector").iterdir()) == ["lock", "logs"]
    assert as_json("down", folder=repository) == {"stopped": False}
    assert as_json("status", folder=repository, code=1)["servers"] == []


def with_provider(repository: Path, description: str) -> None:
    provider = EncoderProvider(TritonSettings(), repository)
    try:
        vectors = provider.get(probe_contract()).encode(["a"])
        assert provider.describe() == description
        # Published while the stack runs: it is taken up when first asked for.
        later = write_probe(repository / "triton_models", probe_contract("later"))
        np.testing.assert_array_equal(provider.get(later).encode(["a"]), vectors)
    finally:
        provider.close()
    np.testing.assert_array_equal(vectors, np.array([probe_vector("a")], np.float32))


def test_an_encoder_that_does_not_load_is_nobody_else_s_trouble(repository: Path) -> None:
    stack.up(repository)
    contract = write_probe(repository / "triton_models", probe_contract("broken"))
    (repository / "triton_models" / "broken" / "1" / "refuse").touch()

    def triton() -> int:
        state = read_state(state_path(repository))
        assert state is not None
        return state.services["triton"].pid

    began = triton()
    for _ in range(2):
        with EncoderProvider(TritonSettings(), repository) as provider:
            assert len(provider.get(probe_contract()).encode(["a"])) == 1
    assert triton() == began
    later = write_probe(repository / "triton_models", probe_contract("later"))
    with EncoderProvider(TritonSettings(), repository) as provider:
        assert len(provider.get(later).encode(["a"])) == 1
        assert triton() != began
        with pytest.raises(ServingError, match="could not load model broken/1"):
            provider.get(contract)


def test_two_processes_share_the_milvus_database(repository: Path) -> None:
    (repository / "connector.yaml").write_text("triton:\n  mode: process\n")
    report = stack.up(repository)
    assert [server.name for server in report.servers] == ["milvus"]
    uri = running_milvus(repository / "data" / "online.db")
    program = "import sys; from pymilvus import MilvusClient as C; c = C(sys.argv[1]); {}; c.close()"
    for job in ("c.create_collection('shared', 4)", "assert c.list_collections() == ['shared']"):
        subprocess.run([sys.executable, "-c", program.format(job), str(uri)], check=True, timeout=60)


def test_a_killed_supervisor_takes_its_servers_along_and_up_recovers(repository: Path) -> None:
    first = stack.up(repository)
    state = read_state(state_path(repository))
    assert state is not None
    os.kill(first.supervisor, signal.SIGKILL)
    assert wait_until(lambda: not any(is_alive(s.pid, s.token) for s in state.services.values()), 15)
    assert not processes_of(repository)
    assert running_triton(repository) is None
    assert not stack.status(repository).running
    assert not state_path(repository).exists()
    assert stack.up(repository).ready


def test_a_killed_triton_comes_back_on_its_ports(repository: Path) -> None:
    (repository / "feature_store.yaml").write_text("project: small\nprovider: local\nonline_store: null\n")
    before = stack.up(repository).servers[0]
    os.kill(before.pid, signal.SIGKILL)
    assert wait_until(lambda: stack.status(repository).ready and stack.status(repository).servers[0].restarts == 1, 20)
    after = stack.status(repository).servers[0]
    assert after.ports == before.ports
    assert after.pid != before.pid


def test_a_deleted_repository_takes_its_servers_along(repository: Path) -> None:
    report = stack.up(repository)
    shutil.rmtree(repository / ".connector")
    assert wait_until(lambda: not processes_of(repository), 15)
    assert wait_until(lambda: not any(Path(f"/proc/{server.pid}").exists() for server in report.servers), 15)
    assert running_milvus(repository / "data" / "online.db") is None


def test_a_model_that_does_not_load_leaves_nothing_running(repository: Path) -> None:
    (repository / "triton_models" / "probe" / "1" / "refuse").touch()
    code, output, errors = command("up", folder=repository)
    assert (code, output) == (2, "")
    assert errors.strip().splitlines()[-1].startswith("error: Triton could not load model probe/1")
    assert not processes_of(repository)
    assert not stack.status(repository).running


def test_what_is_no_feature_repository(tmp_path: Path) -> None:
    code, _, errors = command("up", folder=tmp_path)
    assert code == 2
    assert "no feature_store.yaml" in errors
    assert not (tmp_path / ".connector").exists()


def test_nothing_to_start(repository: Path) -> None:
    (repository / "connector.yaml").write_text("triton:\n  url: elsewhere:8001\n")
    (repository / "feature_store.yaml").write_text("online_store:\n  uri: http://milvus:19530\n")
    with pytest.raises(ConfigurationError, match="nothing to start here"):
        stack.up(repository)


def test_an_environment_that_cannot_run_triton(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, sys.prefix)
    with pytest.raises(ServingError, match="cannot run Triton"):
        stack.up(repository)
    assert sorted(path.name for path in (repository / ".connector").iterdir()) in (["lock"], ["lock", "logs"])
