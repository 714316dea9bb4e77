"""A local Triton started from its wheel, for as long as this process lives."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from connector.errors import ServingError
from connector.serving.environment import ServerEnvironment, find_or_build, inspect
from connector.serving.launch import Identity, ServiceSpec, SupervisorSpec, rotate, triton_service
from connector.serving.probe import triton_models
from connector.serving.processes import start_token, terminate, wait_until
from connector.serving.starter import require_models, spawn, wait_ready
from connector.serving.state import ServiceState, StackState, clean, read_state

LOGS_KEPT = 5
STOP_TIMEOUT_S = 20.0


class LocalTriton:
    """Triton over a model repository, on free ports of 127.0.0.1, ended with this process however that ends.

    A supervisor process owns the server: it restarts it on the same ports when it dies, and ends it when this process
    is gone, even by SIGKILL.

    Args:
        repository: model repository, as `publish` writes it.
        environment: virtual environment with Triton; None finds or builds one.
        log_folder: where `triton-<pid>.log` goes; None: a temporary folder.
        ports: wished ports by purpose (`http`, `grpc`, `metrics`); others are chosen where these are taken.
        cache_mb: MiB for answers that are given again to the same request; 0 remembers none.
        ready_timeout_s: seconds the server may take to load its models.

    Raises on `start`:
        ServingError: no environment, or the server or a model did not load; names the log line.
    """

    def __init__(
        self,
        repository: Path | str,
        environment: Path | str | ServerEnvironment | None = None,
        *,
        log_folder: Path | None = None,
        ports: dict[str, int] | None = None,
        cache_mb: int = 0,
        ready_timeout_s: float = 120.0,
    ) -> None:
        self.repository = Path(repository).absolute()
        self._environment = environment
        self._log_folder = log_folder
        self._wished = ports
        self._cache_mb = cache_mb
        self._ready_timeout_s = ready_timeout_s
        self._identity = Identity()
        self._folder: Path | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def start(self) -> LocalTriton:
        """Start and wait until the models are loaded; a running one is left as it is."""
        if self._supervisor is not None:
            return self
        if not self.repository.is_dir():
            raise ServingError(f"{self.repository}: no model repository there; write one by `connector apply`")
        environment = self._find_environment()
        self._folder = Path(tempfile.mkdtemp(prefix="connector-triton-"))
        self._owner = os.getpid()
        log = self._prepare_log()
        run_folder = self._folder / "run"
        spec = SupervisorSpec(
            state_file=str(self._folder / "state.json"),
            server_id=self._identity.server_id,
            shm_prefix=self._identity.shm_prefix,
            run_folder=str(run_folder),
            services=[self._spec(environment, run_folder, log)],
            parent=self._owner,
            orphan_folder=str(self._folder),
            ready_timeout_s=self._ready_timeout_s,
        )
        try:
            self._supervisor = spawn(spec, log, detach=False)
            state = wait_ready(spec, log, self._supervisor)
            require_models(state.services["triton"], self.repository)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and remove what it used, all but a log in `log_folder`; stopping twice is fine."""
        process, folder = self._supervisor, self._folder
        if os.getpid() != self._owner:
            return
        self._supervisor = self._folder = None
        if process is not None:
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                terminate(process.pid, start_token(process.pid) or "", grace_s=1.0)
                process.wait()
        if folder is not None:
            left = read_state(folder / "state.json")
            if left is not None:
                clean(folder / "state.json", left)
            shutil.rmtree(folder, ignore_errors=True)

    def reload(self) -> None:
        """Restart the server on its ports, to load what was published since it started."""
        before = self._service()
        if self._supervisor is None:
            raise ServingError("the local Triton is not running; start it first")
        self._supervisor.send_signal(signal.SIGHUP)
        done = wait_until(
            lambda: (now := self._service()).ready and (now.pid, now.token) != (before.pid, before.token),
            self._ready_timeout_s,
        )
        if not done:
            raise ServingError(f"Triton did not come back after a reload (log: {before.log})")
        require_models(self._service(), self.repository)

    @property
    def grpc_url(self) -> str:
        """`host:port` of the gRPC endpoint."""
        return f"127.0.0.1:{self._service().ports['grpc']}"

    @property
    def http_url(self) -> str:
        """`host:port` of the HTTP endpoint."""
        return f"127.0.0.1:{self._service().ports['http']}"

    @property
    def metrics_url(self) -> str:
        """`host:port` of the Prometheus endpoint (`/metrics`)."""
        return f"127.0.0.1:{self._service().ports['metrics']}"

    @property
    def log_path(self) -> Path:
        """File of the server's output."""
        return Path(self._service().log)

    @property
    def pid(self) -> int:
        """Process id of the server now; another after a restart."""
        return self._service().pid

    @property
    def supervisor_pid(self) -> int:
        """Process id of the supervisor."""
        return self._state().supervisor

    @property
    def restarts(self) -> int:
        """Times the server was started again after it had died."""
        return self._service().restarts

    def models(self) -> dict[str, str]:
        """State of every model version: `name/version` → `READY`, `LOADING` or `UNAVAILABLE`."""
        return triton_models(self._service().ports["http"])

    def __enter__(self) -> LocalTriton:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _service(self) -> ServiceState:
        return self._state().services["triton"]

    def _state(self) -> StackState:
        state = read_state(self._folder / "state.json") if self._folder is not None else None
        if state is None:
            raise ServingError("the local Triton is not running; start it first")
        return state

    def _find_environment(self) -> ServerEnvironment:
        if isinstance(self._environment, ServerEnvironment):
            return self._environment
        return inspect(Path(self._environment)) if self._environment else find_or_build(near=self.repository.parent)

    def _spec(self, environment: ServerEnvironment, run_folder: Path, log: Path) -> ServiceSpec:
        # Nobody else sends it requests, and it holds nothing that could be lost: no need to stop it gently.
        return triton_service(
            environment,
            self.repository,
            run_folder,
            log,
            self._identity,
            self._wished,
            cache_mb=self._cache_mb,
            grace_s=0.0,
        )

    def _prepare_log(self) -> Path:
        assert self._folder is not None  # noqa: S101 - set by start
        folder = self._log_folder or self._folder
        log = folder / f"triton-{os.getpid()}-{self._identity.server_id[-6:]}.log"
        rotate(log)
        for old in sorted(folder.glob("triton-*.log*"), key=lambda path: path.stat().st_mtime)[:-LOGS_KEPT]:
            old.unlink(missing_ok=True)
        return log
