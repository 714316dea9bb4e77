from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.serving import processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_a_process_is_itself_and_no_other(sleeper: subprocess.Popen[bytes]) -> None:
    token = processes.start_token(sleeper.pid)
    assert token
    assert processes.is_alive(sleeper.pid, token)
    assert not processes.is_alive(sleeper.pid, "another")
    assert not processes.is_alive(sleeper.pid, "")
    assert not processes.is_alive(os.getpid(), token)


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert processes.start_token(process.pid) is None


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1])
def test_no_process_has_no_token(pid: int) -> None:
    assert processes.start_token(pid) is None


def test_terminate_spares_a_recycled_pid(sleeper: subprocess.Popen[bytes]) -> None:
    processes.terminate(sleeper.pid, "the token of its predecessor", grace_s=0.1)
    assert sleeper.poll() is None


def test_terminate_kills_what_ignores_the_signal() -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        processes.terminate(process.pid, processes.start_token(process.pid) or "", grace_s=0.2)
        assert process.wait(5) == -9


def test_free_ports_differ() -> None:
    assert len(set(processes.free_ports(20))) == 20


@pytest.mark.parametrize("prefix", ["", "m", "mmc", "../mmc000000000000", "mmc00000000000g", "*"])
def test_only_our_own_shared_memory_is_removed(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SHARED_MEMORY", tmp_path)
    ours, other = tmp_path / "mmc000000000000-a", tmp_path / "other"
    ours.touch(), other.touch()
    processes.remove_shared_memory(prefix)
    assert ours.exists()
    processes.remove_shared_memory("mmc000000000000")
    assert not ours.exists()
    assert other.exists()


def test_tail_starts_where_asked_and_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\nnew\n")
    assert processes.tail(log, start=4) == ["new"]
    assert processes.tail(log, most=4) == ["new"]
    assert processes.tail(tmp_path / "absent") == []
