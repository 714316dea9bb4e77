"""Starting a supervisor and waiting until its servers are ready."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from connector.errors import ServingError
from connector.serving.launch import SupervisorSpec
from connector.serving.processes import tail
from connector.serving.state import ServiceState, StackState, clean, read_state
from encoders.files import write_json

FIRST_STATE_S = 30.0


def spawn(spec: SupervisorSpec, log: Path, *, detach: bool) -> subprocess.Popen[bytes]:
    """Start the supervisor's process.

    Returns:
        The process; its standard input is the pipe that keeps an embedded supervisor alive. Detached, it is a process
        that has already ended, having left the supervisor behind.
    """
    run_folder = Path(spec.run_folder)
    # The environment variables of the servers may hold secrets.
    run_folder.chmod(0o700)
    file = run_folder / "spec.json"
    write_json(file, spec.to_record())
    import connector

    source = str(Path(connector.__file__).resolve().parent.parent)
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH", ""))))}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "connector.serving.supervisor", str(file), *(["--detach"] if detach else [])],
            stdin=subprocess.DEVNULL if detach else subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=run_folder,
            env=variables,
            start_new_session=True,
        )
    if detach:
        process.wait()
    return process


def wait_ready(spec: SupervisorSpec, log: Path, process: subprocess.Popen[bytes] | None) -> StackState:
    """Wait until every server is ready.

    Args:
        process: the embedded supervisor, to notice its early end; None when detached.

    Raises:
        ServingError: a server ended or did not become ready in time; names the log and its telling line.
    """
    state_file = Path(spec.state_file)
    started = time.monotonic()
    deadline = started + spec.ready_timeout_s + FIRST_STATE_S
    while time.monotonic() < deadline:
        state = read_state(state_file)
        if state is not None and state.server_id == spec.server_id:
            if all(service.ready for service in state.services.values()):
                return state
            failed = next((service for service in state.services.values() if service.error), None)
            if failed is not None and not (failed.restarts or state.alive):
                clean(state_file, state)
                raise ServingError(f"{failed.name} did not start: {failed.error} (log: {failed.log})")
            if not state.alive and not failed:
                clean(state_file, state)
                raise ServingError(f"the supervisor ended while starting: {_last(log)}")
        elif time.monotonic() - started > FIRST_STATE_S or (process is not None and process.poll() is not None):
            raise ServingError(f"the supervisor did not start: {_last(log)}")
        time.sleep(0.03)
    raise ServingError(f"the servers were not ready in time (logs: {log.parent})")


def require_models(service: ServiceState, repository: Path, only: str | None = None) -> None:
    """Raise `ServingError` for a model that was exported and yet did not load.

    Models whose graph is still to be made by `connector apply` are no error.

    Args:
        only: name of the encoder that matters; None: all.
    """
    for model, reason in service.failures.items():
        if only is not None and model.split("/")[0] != only:
            continue
        folder = repository / model
        made = all((folder / name).exists() for name in ("model.onnx", "graph.json"))
        if (folder / "encoder.json").exists() and not made:
            continue
        raise ServingError(f"Triton could not load model {model}: {reason} (log: {service.log})")


def _last(log: Path) -> str:
    lines = [line for line in tail(log) if line.strip()]
    return f"{lines[-1].strip() if lines else 'it said nothing'} (log: {log})"
