"""How each server is started: its folder, its environment variables and its command line."""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from connector.errors import ServingError
from connector.serving.environment import ServerEnvironment

ENCODERS_VARIABLE = "CONNECTOR_ENCODERS_PATH"
EXIT_TIMEOUT_S = 5


@dataclass(frozen=True)
class ServiceSpec:
    """What the supervisor needs to run one server.

    Attributes:
        name: `triton` or `milvus`.
        command: arguments; `{http}`, `{grpc}`, `{metrics}` stand for ports.
        ports: purpose → wished port, 0 for any free one.
        environment: all its environment variables.
        folder: working folder.
        log: file that its output is appended to.
        data: folder it serves.
        probe: `triton` asks its HTTP health check, `socket` tries to connect to `grpc`.
        stop_signal: signal on which it stops in good order.
        grace_s: seconds it may take to; 0 kills it at once.
    """

    name: str
    command: list[str]
    ports: dict[str, int]
    environment: dict[str, str]
    folder: str
    log: str
    data: str
    probe: Literal["triton", "socket"]
    stop_signal: int = int(signal.SIGTERM)
    grace_s: float = 10.0


@dataclass(frozen=True)
class SupervisorSpec:
    """What a supervisor is started with.

    Attributes:
        state_file: where it writes who runs on which ports.
        server_id: name that its Triton answers with, so that a foreign server on the port is not taken for it.
        shm_prefix: prefix of Triton's shared-memory segments, removed at the end.
        services: servers to run.
        parent: pid whose death ends everything, 0 when detached.
        ready_timeout_s: seconds a server may take to become ready.
        max_restarts: restarts in a row, after which a server is left down.
        run_folder: removed at the end.
        orphan_folder: removed too, unless the parent has still to read there why the start failed.
    """

    state_file: str
    server_id: str
    shm_prefix: str
    run_folder: str
    services: list[ServiceSpec]
    parent: int = 0
    ready_timeout_s: float = 120.0
    max_restarts: int = 5
    orphan_folder: str = ""

    def to_record(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> SupervisorSpec:
        """Read `to_record`'s form."""
        return cls(**{**record, "services": [ServiceSpec(**service) for service in record["services"]]})


@dataclass(frozen=True)
class Identity:
    """Names that no other server of this machine has."""

    server_id: str = field(default_factory=lambda: f"connector-{secrets.token_hex(6)}")
    shm_prefix: str = field(default_factory=lambda: f"mmc{secrets.token_hex(6)}")


def triton_service(
    environment: ServerEnvironment,
    repository: Path,
    run_folder: Path,
    log: Path,
    identity: Identity,
    ports: dict[str, int] | None = None,
    *,
    cache_mb: int = 0,
    grace_s: float = 10.0,
) -> ServiceSpec:
    """The Triton server over a model repository, on loopback only.

    Args:
        cache_mb: MiB for answers that are given again to the same request; 0 remembers none.
        run_folder: filled here: backends with the stub of the environment's Python, `libpython`, and `encoders`.

    Raises:
        ServingError: the wheel has no stub for the environment's Python.
    """
    _fill(run_folder, environment)
    binaries = environment.root / "bin"
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    variables |= {
        "LD_LIBRARY_PATH": f"{environment.libraries}:{run_folder / 'lib'}",
        # The stub takes its packages from the python3 that comes first on PATH.
        "PATH": f"{binaries}:{os.environ.get('PATH', os.defpath)}",
        ENCODERS_VARIABLE: str(run_folder / "python"),
    }
    command = [
        str(environment.triton / "bin" / "tritonserver"),
        f"--id={identity.server_id}",
        f"--model-repository={repository}",
        f"--backend-directory={run_folder / 'backends'}",
        f"--backend-config=python,shm-region-prefix-name={identity.shm_prefix}",
        *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc", "metrics")),
        *(f"--{kind}-port={{{kind}}}" for kind in ("http", "grpc", "metrics")),
        "--allow-gpu-metrics=false",
        "--disable-auto-complete-config",
        # One broken model must not take the others down with it; the supervisor reports it.
        "--exit-on-error=false",
        "--strict-readiness=false",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
    ]
    if cache_mb:
        command += [f"--cache-directory={environment.triton / 'caches'}", f"--cache-config=local,size={cache_mb << 20}"]
    wished = ports or {}
    return ServiceSpec(
        name="triton",
        command=command,
        ports={kind: wished.get(kind, 0) for kind in ("http", "grpc", "metrics")},
        environment=variables,
        folder=str(run_folder),
        log=str(log),
        data=str(repository),
        probe="triton",
        grace_s=grace_s,
    )


def milvus_service(database: Path, run_folder: Path, log: Path) -> ServiceSpec:
    """A Milvus Lite server over a local database, so that several processes can share it."""
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(database)]
    return ServiceSpec(
        name="milvus",
        command=[*command, "--host", "127.0.0.1", "--port", "{grpc}"],
        ports={"grpc": 0},
        environment=dict(os.environ),
        folder=str(run_folder),
        log=str(log),
        data=str(database),
        probe="socket",
        stop_signal=int(signal.SIGINT),
    )


def rotate(log: Path) -> None:
    """Keep the log of the previous run as `<name>.1` and start an empty one."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    log.touch()


def encoders_folder() -> Path:
    """Where this process imports `encoders` from."""
    spec = importlib.util.find_spec("encoders")
    if spec is None or not spec.submodule_search_locations:
        raise ServingError("the package `encoders` cannot be found; reinstall multimodal-connector")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _fill(run_folder: Path, environment: ServerEnvironment) -> None:
    stub = environment.triton / "python_backend_stubs" / environment.python / "triton_python_backend_stub"
    if not stub.exists():
        raise ServingError(f"{environment.root}: the Triton wheel has no stub for Python {environment.python}")
    backend = run_folder / "backends" / "python"
    links = {
        backend / "triton_python_backend_stub": stub,
        run_folder / "lib" / environment.libpython.name: environment.libpython,
    }
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        links[backend / name] = environment.triton / "backends" / "python" / name
    # Only this package, and not the folder it lies in: that may be a site-packages with another numpy.
    links[run_folder / "python" / "encoders"] = encoders_folder()
    for link, target in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)
