"""What runs for a feature repository: `.connector/state.json`, written by the supervisor and read by everybody else.

Beside a local Milvus database that is being served lies `<database>.server.json`, so that a store that knows only the
database's path finds the server.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from connector.serving.processes import is_alive, remove_shared_memory, start_token, terminate
from encoders.files import write_json

STATE_FOLDER = ".connector"
FORMAT = 1


@dataclass(frozen=True)
class ServiceState:
    """One supervised server.

    Attributes:
        name: `triton` or `milvus`.
        pid: 0 while it is not running.
        token: tells the process from a later one with its pid.
        ports: purpose (`http`, `grpc`, `metrics`) → port of 127.0.0.1.
        ready: whether it answered its health check.
        restarts: times the supervisor started it again.
        started_at: seconds since 1970, of the present process.
        log: file of its output.
        data: folder it serves: the model repository, or the Milvus database.
        error: why it is not running, in one line.
        failures: model `name/version` → why it did not load.
    """

    name: str
    pid: int = 0
    token: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    ready: bool = False
    restarts: int = 0
    started_at: float = 0.0
    log: str = ""
    data: str = ""
    error: str = ""
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return is_alive(self.pid, self.token)


@dataclass(frozen=True)
class StackState:
    """A supervisor and its servers.

    Attributes:
        supervisor: its pid.
        token: tells it from a later process with its pid.
        server_id: name that its Triton answers with.
        shm_prefix: prefix of Triton's shared-memory segments.
        services: by name.
    """

    supervisor: int
    token: str
    server_id: str
    shm_prefix: str
    services: dict[str, ServiceState] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether the supervisor runs."""
        return is_alive(self.supervisor, self.token)

    def to_record(self) -> dict[str, Any]:
        """JSON form, with the Milvus endpoint under `milvus`."""
        milvus = self.services.get("milvus")
        endpoint = {"uri": milvus_uri(milvus), "data": milvus.data} if milvus else None
        return {"format": FORMAT, **asdict(self), "milvus": endpoint}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> StackState:
        """Read `to_record`'s form; raises `KeyError`, `TypeError` or `ValueError` on anything else."""
        if record["format"] != FORMAT:
            raise ValueError("another format")
        return cls(
            supervisor=int(record["supervisor"]),
            token=str(record["token"]),
            server_id=str(record["server_id"]),
            shm_prefix=str(record["shm_prefix"]),
            services={name: ServiceState(**service) for name, service in record["services"].items()},
        )


def state_path(repository: Path) -> Path:
    """State file of a feature repository."""
    return repository.resolve() / STATE_FOLDER / "state.json"


def read_state(path: Path) -> StackState | None:
    """The state as written, dead or alive; None where there is none or it cannot be read."""
    try:
        return StackState.from_record(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_state(path: Path, state: StackState) -> None:
    """Write atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, state.to_record())


def running(repository: Path) -> StackState | None:
    """State of the live stack of a feature repository, or None; what a dead stack left is removed."""
    path = state_path(repository)
    state = read_state(path)
    if state is None:
        return None
    if state.alive:
        return state
    clean(path, state)
    return None


def clean(path: Path, state: StackState) -> None:
    """End servers whose supervisor is gone and remove their traces."""
    for service in state.services.values():
        terminate(service.pid, service.token)
        if service.name == "milvus":
            remove_marker(Path(service.data))
    remove_shared_memory(state.shm_prefix)
    path.unlink(missing_ok=True)


def running_triton(repository: Path) -> str | None:
    """`host:port` of the gRPC endpoint of the repository's running stack, or None."""
    state = running(repository)
    service = state.services.get("triton") if state else None
    return f"127.0.0.1:{service.ports['grpc']}" if service and service.ready and service.alive else None


def milvus_uri(service: ServiceState) -> str:
    """Address of a served Milvus Lite database."""
    return f"http://127.0.0.1:{service.ports.get('grpc', 0)}"


def marker_path(database: Path) -> Path:
    """File beside a local Milvus database that says who serves it."""
    return database.with_name(f"{database.name}.server.json")


def write_marker(database: Path, service: ServiceState) -> None:
    """Say beside the database that `service` serves it."""
    database.parent.mkdir(parents=True, exist_ok=True)
    write_json(marker_path(database), {"uri": milvus_uri(service), "pid": service.pid, "token": service.token})


def remove_marker(database: Path) -> None:
    """Take the marker away; an absent one is fine."""
    with suppress(OSError):
        marker_path(database).unlink(missing_ok=True)


def running_milvus(database: str | os.PathLike[str]) -> str | None:
    """Address of the server that holds a local Milvus database now, or None: then the database may be opened here.

    Args:
        database: path of the Milvus Lite database, as in `online_store: uri`.
    """
    try:
        record = json.loads(marker_path(Path(database).resolve()).read_text(encoding="utf-8"))
        uri, pid, token = str(record["uri"]), int(record["pid"]), str(record["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return uri if uri.startswith("http://127.0.0.1:") and is_alive(pid, token) else None


def own_identity() -> tuple[int, str]:
    """Pid and token of this process."""
    return os.getpid(), start_token(os.getpid()) or ""


def with_service(state: StackState, service: ServiceState) -> StackState:
    """`state` with one service replaced."""
    return replace(state, services={**state.services, service.name: service})
