"""The local stack of a feature repository: Triton, and a server for a local Milvus database, as one background job."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from connector.config import TritonSettings, load_settings
from connector.errors import ConfigurationError, ServingError
from connector.serving.ensemble import served_model
from connector.serving.environment import find_or_build
from connector.serving.launch import Identity, ServiceSpec, SupervisorSpec, milvus_service, rotate, triton_service
from connector.serving.processes import terminate, wait_until
from connector.serving.repository import published
from connector.serving.starter import require_models, spawn, wait_ready
from connector.serving.state import STATE_FOLDER, StackState, clean, read_state, running, running_milvus, state_path
from connector.serving.status import StackStatus, describe
from encoders.contract import EncoderContract

READY_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0


def up(repository_dir: Path | str = ".") -> StackStatus:
    """Start what is not running and wait until it is ready; doing it again changes nothing.

    Triton serves the model repository of the settings, unless `triton.url` names a server elsewhere or `triton.mode`
    is `process`. Where `online_store: uri` in feature_store.yaml is a local `*.db`, a Milvus Lite server takes it over
    so that several processes can use it. A running Triton is restarted, on its ports, when encoders were published
    since it started.

    Raises:
        ConfigurationError: no feature repository there, or nothing in it to start.
        ServingError: a server or a model did not start; names the log line.
    """
    repository = _require_repository(repository_dir)
    with _locked(repository):
        state = running(repository)
        if state is None:
            _start(repository)
        else:
            _refresh(repository, state)
    return status(repository)


def refresh(repository_dir: Path | str, contract: EncoderContract | None = None) -> bool:
    """Have a running local Triton load encoders published since it started → whether it had to be restarted.

    Args:
        contract: only if this encoder is not served yet; that another one cannot be loaded is then no error, and no
            reason to cut off everybody's requests.

    Raises:
        ServingError: an encoder (the one asked for, where one was) cannot be loaded, or the stack did not come back.
    """
    repository = _require_repository(repository_dir)
    with _locked(repository):
        state = running(repository)
        return _refresh(repository, state, contract) if state is not None else False


def down(repository_dir: Path | str = ".") -> bool:
    """Stop the local stack and remove what it left → whether there was one."""
    repository = _require_repository(repository_dir)
    with _locked(repository):
        path = state_path(repository)
        state = read_state(path)
        if state is None:
            return False
        was_alive = state.alive or any(service.alive for service in state.services.values())
        terminate(state.supervisor, state.token, grace_s=STOP_TIMEOUT_S)
        clean(path, state)
        return was_alive


def status(repository_dir: Path | str = ".") -> StackStatus:
    """What runs now; what a dead stack left is removed."""
    repository = _require_repository(repository_dir)
    return describe(running(repository), repository)


def local_database(repository: Path) -> Path | None:
    """The local Milvus database of a feature repository, or None where Milvus is elsewhere.

    Raises:
        ConfigurationError: feature_store.yaml is missing or is not YAML.
    """
    import yaml

    file = repository / "feature_store.yaml"
    try:
        config: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{file}: not readable as YAML: {' '.join(str(error).split())}") from error
    store = config.get("online_store") if isinstance(config, dict) else None
    uri = store.get("uri") if isinstance(store, dict) else None
    if not isinstance(uri, str) or "://" in uri or not uri.endswith(".db"):
        return None
    return (repository / uri).resolve()


def _start(repository: Path) -> None:
    settings = load_settings(repository).triton
    identity = Identity()
    folder = repository / STATE_FOLDER
    run_folder = folder / f"run-{identity.server_id}"
    run_folder.mkdir(parents=True)
    log = folder / "logs" / "supervisor.log"
    try:
        services = _services(repository, settings, run_folder, identity)
        rotate(log)
        spec = SupervisorSpec(
            state_file=str(state_path(repository)),
            server_id=identity.server_id,
            shm_prefix=identity.shm_prefix,
            run_folder=str(run_folder),
            services=services,
            ready_timeout_s=READY_TIMEOUT_S,
        )
        spawn(spec, log, detach=True)
        state = wait_ready(spec, log, None)
        if "triton" in state.services:
            require_models(state.services["triton"], Path(state.services["triton"].data))
    except BaseException:
        left = read_state(state_path(repository))
        if left is not None and left.server_id == identity.server_id:
            terminate(left.supervisor, left.token, grace_s=STOP_TIMEOUT_S)
            clean(state_path(repository), left)
        _remove(run_folder)
        raise


def _services(repository: Path, settings: TritonSettings, run_folder: Path, identity: Identity) -> list[ServiceSpec]:
    services = []
    logs = repository / STATE_FOLDER / "logs"
    if settings.url is None and settings.mode != "process":
        environment = find_or_build(settings.environment, near=repository)
        models = (repository / settings.model_repository).resolve()
        models.mkdir(parents=True, exist_ok=True)
        cache = settings.response_cache_mb
        log = logs / "triton.log"
        services.append(triton_service(environment, models, run_folder, log, identity, cache_mb=cache))
    database = local_database(repository)
    if database is not None and running_milvus(database) is None:
        database.parent.mkdir(parents=True, exist_ok=True)
        services.append(milvus_service(database, run_folder, logs / "milvus.log"))
    if not services:
        raise ConfigurationError(
            f"{repository}: nothing to start here: triton.url or triton.mode say that encoders run elsewhere, "
            "and the online store is not a local *.db"
        )
    for service in services:
        rotate(Path(service.log))
    return services


def _refresh(repository: Path, state: StackState, contract: EncoderContract | None = None) -> bool:
    triton = state.services.get("triton")
    given_up = any(service.error and not service.alive for service in state.services.values())
    if not given_up and (triton is None or not _missing(state, contract)):
        return False
    os.kill(state.supervisor, signal.SIGHUP)
    before = {name: (service.pid, service.token) for name, service in state.services.items()}

    def back() -> bool:
        now = running(repository)
        if now is None:
            return False
        changed = triton is None or (now.services["triton"].pid, now.services["triton"].token) != before["triton"]
        return changed and all(service.ready for service in now.services.values())

    if not wait_until(back, READY_TIMEOUT_S):
        raise ServingError(f"the local stack did not come back after a reload (logs: {repository / STATE_FOLDER}/logs)")
    now = running(repository)
    if now is not None and "triton" in now.services:
        only = None if contract is None else contract.name
        require_models(now.services["triton"], Path(now.services["triton"].data), only)
    return True


def _missing(state: StackState, contract: EncoderContract | None) -> bool:
    """Whether the running Triton lacks this encoder, or one of those that the model repository holds."""
    from connector.serving.probe import triton_models

    triton = state.services["triton"]
    serving = {model for model, state in triton_models(triton.ports["http"]).items() if state == "READY"}
    if contract is not None:
        name, version = served_model(contract)
        return f"{name}/{version}" not in serving
    wanted = {f"{contract.name}/{contract.version}" for contract in published(Path(triton.data))}
    return bool(wanted - serving)


def _require_repository(repository_dir: Path | str) -> Path:
    repository = Path(repository_dir).resolve()
    if not (repository / "feature_store.yaml").is_file():
        raise ConfigurationError(
            f"{repository}: no feature_store.yaml there; name a feature repository, or make one by `connector init`"
        )
    return repository


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(repository: Path) -> Iterator[None]:
    """One `up` or `down` at a time."""
    try:
        import fcntl
    except ImportError as error:
        raise ServingError(
            "the local stack needs Linux or macOS; set triton.mode: process in connector.yaml"
        ) from error
    folder = repository / STATE_FOLDER
    with suppress(FileExistsError):
        folder.mkdir(parents=True)
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
