"""A real Milvus server (the `milvus` wheel, 2.3.5) for tests and benchmarks: own ports, own data, gone when told to.

The wheel lives in an environment of its own. This process's child starts there as a few lines of Python that prepare
the configuration, and becomes the server itself, so there is one process, and it dies with its parent. Seldom, a server
that was killed comes back alive and never healthy; it is then ended and started again, as a supervisor would.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from connector.errors import StoreUnavailableError

ENVIRONMENT_VARIABLE = "CONNECTOR_MILVUS_SERVER_ENV"
DEFAULT_ENVIRONMENT = ".venv-milvus"
STARTS = 3
ROLES = ("rootCoord", "proxy", "queryCoord", "queryNode", "indexNode", "dataCoord", "dataNode")
PORTS = (
    "etcd_port",
    "root_coord_port",
    "proxy_port",
    "proxy_internal_port",
    "query_coord_port",
    "query_node_port",
    "index_coord_port",
    "index_node_port",
    "data_coord_port",
    "data_node_port",
)

LAUNCH = """
import ctypes, json, os, signal, socket, sys
from os.path import dirname, join
from milvus import MilvusServerConfig, _initialize_data_files

order = json.loads(sys.argv[1])
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != order["parent"]:
        sys.exit(1)
class Config(MilvusServerConfig):
    def try_bind_port(self, port):  # a server that was killed leaves its ports in TIME_WAIT
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind(("127.0.0.1", port))
        except OSError:
            return None
        return held
config = Config(data_dir=order["data"], **order["ports"])
for name, value in order["extra"].items():
    config.set(name, str(value).lower() if isinstance(value, bool) else value)
config.resolve()
_initialize_data_files(config.base_data_dir)
program = join(config.base_data_dir, "bin", "milvus")
os.chdir(config.base_data_dir)
os.execve(program, [program, "run", "standalone", "-alias", order["alias"]], {
    **os.environ,
    "DEPLOY_MODE": "STANDALONE",
    "METRICS_PORT": str(order["metrics"]),
    "ETCD_CONFIG_PATH": order["etcd"],
    "LD_LIBRARY_PATH": dirname(program),
})
"""

ETCD = """name: milvus
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: milvus=http://127.0.0.1:{peer}
"""


class MilvusServer:
    """A Milvus server; start it by `with`, or by `start` and `stop`.

    Milvus 2.3 listens on every address, on ports that are free ones; only its embedded etcd keeps to 127.0.0.1.

    Args:
        folder: data and logs, half a gigabyte; made if absent, kept by `stop`.
        environment: virtual environment with the `milvus` wheel; default the one that `CONNECTOR_MILVUS_SERVER_ENV`
            names, else `.venv-milvus` in the working folder.
        ready_s: seconds to wait for it, at each of three starts.
        extra: settings of milvus.yaml by dotted name, such as `quotaAndLimits.dml.enabled`; read at each start.
    """

    def __init__(
        self,
        folder: str | Path,
        environment: str | Path | None = None,
        ready_s: float = 80.0,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder).resolve()
        self.extra: dict[str, Any] = dict(extra or {})
        self._python = server_python(environment)
        self._ready_s = ready_s
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}
        self._alias = ""

    @property
    def uri(self) -> str:
        """`http://127.0.0.1:<port>` of the running server."""
        return f"http://127.0.0.1:{self._ports['proxy_port']}"

    @property
    def pid(self) -> int:
        """Process id; 0 while it is not running."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> MilvusServer:
        """Start and wait until it is healthy.

        Raises:
            StoreUnavailableError: no `milvus` wheel in the environment, or it died, or was started three times and not
                ready in time.
        """
        if self._python is None:
            raise StoreUnavailableError(
                f"no Milvus server environment: make one with `pip install milvus==2.3.5 'setuptools<70'` and name it "
                f"in {ENVIRONMENT_VARIABLE}"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ports = self._ports or _free_ports([*PORTS, "metrics", "etcd_client", "etcd_peer"])
        self._alias = f"connector-{os.getpid()}-{self._ports['proxy_port']}"
        health = "no answer"
        for turn in range(STARTS):
            self._launch(self._python, "ab" if turn else "wb")
            try:
                health = self._wait()
            except BaseException:
                self.stop()
                raise
            if not health:
                return self
            self.kill()
        raise StoreUnavailableError(
            f"the Milvus server is not ready after {STARTS} starts of {self._ready_s:.0f} s ({health}); "
            f"see {self.folder}/server.log"
        )

    def stop(self, grace_s: float = 10.0) -> None:
        """Stop it, by force after `grace_s` seconds; stopping twice is fine."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._tidy(process.pid)

    def kill(self) -> None:
        """End it without warning, as a fault test does."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self._tidy(process.pid)

    def remove(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> MilvusServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, python: Path, mode: str) -> None:
        etcd = self.folder / "etcd.yaml"
        etcd.write_text(ETCD.format(client=self._ports["etcd_client"], peer=self._ports["etcd_peer"]))
        order = {
            "parent": os.getpid(),
            "data": str(self.folder),
            "ports": {name: self._ports[name] for name in PORTS},
            "metrics": self._ports["metrics"],
            "extra": {**{f"{role}.ip": "127.0.0.1" for role in ROLES}, **self.extra},
            "alias": self._alias,
            "etcd": str(etcd),
        }
        with (self.folder / "server.log").open(mode) as log:
            self._process = subprocess.Popen(
                [str(python), "-c", LAUNCH, json.dumps(order)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait(self) -> str:
        """Nothing once it is healthy; what it last said of its health when `ready_s` is over."""
        deadline = time.monotonic() + self._ready_s
        said = "no answer"
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise StoreUnavailableError(f"the Milvus server ended while starting; see {self.folder}/server.log")
            try:
                address = f"http://127.0.0.1:{self._ports['metrics']}/healthz"
                with urllib.request.urlopen(address, timeout=2) as answer:
                    said = answer.read().decode(errors="replace")
                if "OK" in said:
                    return ""
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace")
            except OSError as error:
                said = str(error)
            time.sleep(0.1)
        return " ".join(said.split()) or "no answer"

    def _tidy(self, pid: int) -> None:
        """The server leaves these two behind, outside its folder, when it is killed."""
        for folder in ("/run/milvus", "/tmp/milvus"):  # noqa: S108 - Milvus's own choice
            for name in (f"standalone-{self._alias}.pid", f"server_id_{pid}"):
                with suppress(OSError):
                    (Path(folder) / name).unlink()


def server_python(environment: str | Path | None = None) -> Path | None:
    """Python of the server's environment, or None where there is no `milvus` wheel in it."""
    folder = Path(environment or os.environ.get(ENVIRONMENT_VARIABLE, DEFAULT_ENVIRONMENT)).absolute()
    python = folder / "bin" / "python"
    return python if python.exists() and any(folder.glob("lib/python*/site-packages/milvus/__init__.py")) else None


def _free_ports(names: list[str]) -> dict[str, int]:
    held = [socket.socket() for _ in names]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return {name: one.getsockname()[1] for name, one in zip(names, held, strict=True)}
    finally:
        for one in held:
            one.close()
