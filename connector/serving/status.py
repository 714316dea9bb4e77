"""What `connector status` reports."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from connector.serving.probe import triton_models
from connector.serving.repository import described, is_complete
from connector.serving.state import ServiceState, StackState, milvus_uri


@dataclass(frozen=True)
class ServerStatus:
    """One server.

    Attributes:
        name: `triton` or `milvus`.
        state: `ready`, `starting` or `down`.
        url: its main endpoint: gRPC `host:port` of Triton, address of Milvus.
        uptime_s: seconds since its process started; 0 when down.
        error: why it is down, in one line.
    """

    name: str
    state: str
    pid: int
    url: str
    ports: dict[str, int]
    uptime_s: float
    restarts: int
    log: str
    data: str
    error: str = ""


@dataclass(frozen=True)
class ModelStatus:
    """One encoder version: `READY`, `LOADING`, `UNAVAILABLE` (with the reason), or `NOT EXPORTED`."""

    name: str
    version: int
    state: str
    contract_hash: str
    reason: str = ""


@dataclass(frozen=True)
class StackStatus:
    """The local stack of a feature repository."""

    repository: str
    running: bool
    supervisor: int = 0
    servers: list[ServerStatus] = field(default_factory=list)
    models: list[ModelStatus] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether every server is."""
        return self.running and all(server.state == "ready" for server in self.servers)

    def to_record(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "ready": self.ready}


def describe(state: StackState | None, repository: Path) -> StackStatus:
    """The status of a live stack, or of none."""
    if state is None:
        return StackStatus(str(repository), running=False)
    return StackStatus(
        repository=str(repository),
        running=True,
        supervisor=state.supervisor,
        servers=[_server(service) for service in state.services.values()],
        models=_models(state.services["triton"]) if "triton" in state.services else [],
    )


def _server(service: ServiceState) -> ServerStatus:
    alive = service.alive
    return ServerStatus(
        name=service.name,
        state="ready" if alive and service.ready else "starting" if alive or not service.error else "down",
        pid=service.pid,
        url=milvus_uri(service) if service.name == "milvus" else f"127.0.0.1:{service.ports.get('grpc', 0)}",
        ports=service.ports,
        uptime_s=round(time.time() - service.started_at, 1) if alive else 0.0,
        restarts=service.restarts,
        log=service.log,
        data=service.data,
        error=service.error,
    )


def _models(service: ServiceState) -> list[ModelStatus]:
    repository = Path(service.data)
    states = triton_models(service.ports["http"]) if service.ready else {}
    contracts = {f"{c.name}/{c.version}": c for c in described(repository)}
    models = []
    for key in sorted({*states, *contracts}):
        name, _, version = key.rpartition("/")
        contract = contracts.get(key)
        exported = contract is None or is_complete(repository, contract)
        models.append(
            ModelStatus(
                name=name,
                version=int(version),
                state=states.get(key, "LOADING") if exported else "NOT EXPORTED",
                contract_hash=contract.hash if contract else "",
                reason=service.failures.get(key, "") if exported else "run `connector apply`",
            )
        )
    return models
