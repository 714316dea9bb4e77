"""A server that fails while it starts, looked after in a process of its own, as the supervisor is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SERVER = """\
import os, socket, sys, time
from pathlib import Path

runs, said, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
count = int(runs.read_text()) + 1 if runs.exists() else 1
runs.write_text(str(count))
if count < 3:
    print(said, flush=True)
    os.abort()
with socket.create_server(("127.0.0.1", port)):
    time.sleep(60)
"""
OWNER = """\
import sys, time
from pathlib import Path

from connector.serving.launch import ServiceSpec
from connector.serving.service import SupervisedService

folder, said = Path(sys.argv[1]), sys.argv[2]
command = [sys.executable, str(folder / "server.py"), str(folder / "runs"), said, "{grpc}"]
spec = ServiceSpec("triton", command, {"grpc": 0}, {}, str(folder), str(folder / "log"), str(folder), "socket")
service = SupervisedService(spec, "id", "none-", 30.0, 3)
service.start()
until = time.monotonic() + 60
while time.monotonic() < until and not service.state().ready and not service.failed_at_start:
    service.tick()
    time.sleep(0.05)
print("ready" if service.state().ready else service.state().error)
service.stop()
"""


@pytest.mark.parametrize(
    ("said", "outcome", "runs"),
    [
        ("what():  boost::interprocess::lock_exception", "ready", "3"),
        ("bind: Address already in use", "ready", "3"),
        ("error: no such model", "ended with signal SIGABRT: error: no such model", "1"),
    ],
)
def test_only_what_another_start_may_mend_is_started_again(tmp_path: Path, said: str, outcome: str, runs: str) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    done = subprocess.run(
        [sys.executable, "-c", OWNER, str(tmp_path), said], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.stdout.strip(), (tmp_path / "runs").read_text()) == (outcome, runs), done.stderr
