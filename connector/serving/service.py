"""One supervised server: start, health, restart with back-off, stop with everything it spawned."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from connector.serving.launch import ServiceSpec
from connector.serving.probe import socket_ready, triton_failures, triton_ready
from connector.serving.processes import (
    child_setup,
    children,
    extraction_folders,
    first_match,
    free_ports,
    is_alive,
    kill_group,
    remove_shared_memory,
    start_token,
    tail,
)
from connector.serving.state import ServiceState

PORT_ATTEMPTS = 5
STEADY_S = 60.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
PROBE_EVERY_S = 0.1
PORT_TAKEN = ("already in use", "failed to bind", "address in use")
# What Triton's Python backend says when a worker and it miss each other at their shared memory, on a busy machine.
MISSED = ("boost::interprocess::lock_exception",)
TELLING = (
    "failed to load",
    "invalid argument",
    "error:",
    "error ",
    "not found",
    "cannot open",
    "unrecognized",
    "locked",
)


class SupervisedService:
    """A server and its fate. Only for a single-threaded supervisor.

    Args:
        max_restarts: restarts in a row without a steady minute between them, after which it is left down.
    """

    def __init__(
        self, spec: ServiceSpec, server_id: str, shm_prefix: str, ready_timeout_s: float, max_restarts: int
    ) -> None:
        self.name = spec.name
        self.failed_at_start = False
        self._spec, self._server_id, self._shm_prefix = spec, server_id, shm_prefix
        self._ready_timeout_s, self._max_restarts = ready_timeout_s, max_restarts
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = dict(spec.ports)
        self._token = ""
        self._ready = self._was_ready = False
        self._attempts = self._restarts = self._in_a_row = 0
        self._started = self._next_probe = 0.0
        self._started_at = 0.0
        self._next_start: float | None = None
        self._error = ""
        self._log_start = 0
        self._workers: list[tuple[int, str]] = []
        self._extraction_before: set[Path] = set()
        self._extraction: Path | None = None
        self._failures: dict[str, str] = {}

    def start(self) -> None:
        """Start the process on its ports, choosing those that are still open to choice."""
        open_ports = [kind for kind, port in self._ports.items() if port == 0]
        self._ports |= dict(zip(open_ports, free_ports(len(open_ports)), strict=True))
        self._next_start, self._ready, self._error = None, False, ""
        self._started, self._started_at = time.monotonic(), time.time()
        if self._spec.probe == "triton":
            self._extraction_before = extraction_folders()
        try:
            Path(self._spec.log).parent.mkdir(parents=True, exist_ok=True)
            with Path(self._spec.log).open("ab") as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    [_filled(argument, self._ports) for argument in self._spec.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._spec.environment,
                    cwd=self._spec.folder,
                    start_new_session=True,
                    preexec_fn=child_setup(os.getpid(), self._spec.stop_signal),  # noqa: PLW1509 - no threads here
                )
        except (OSError, subprocess.SubprocessError) as error:
            self._process, self._error, self.failed_at_start = None, f"cannot start: {error}", not self._was_ready
            return
        self._token = start_token(self._process.pid) or ""

    def tick(self) -> None:
        """Look after the process once."""
        if self._next_start is not None:
            if time.monotonic() >= self._next_start:
                self.start()
        elif self._process is not None and self._process.poll() is not None:
            self._on_exit(self._process.returncode)
        elif self._process is not None and not self._ready:
            self._probe()
        elif self._process is not None and not all(is_alive(*worker) for worker in self._workers):
            self._on_dead_worker()
        elif self._in_a_row and time.monotonic() - self._started > STEADY_S:
            self._in_a_row = 0

    def reload(self) -> None:
        """Start a Triton again on the same ports, or any server that was given up."""
        if self._process is not None and self.name != "triton":
            return
        self.stop()
        self._in_a_row = 0
        self._note("reloading")
        self.start()

    def state(self) -> ServiceState:
        """What to tell others."""
        running = self._process is not None and self._process.returncode is None
        return ServiceState(
            name=self.name,
            pid=self._process.pid if running and self._process else 0,
            token=self._token if running else "",
            ports=dict(self._ports),
            ready=running and self._ready,
            restarts=self._restarts,
            started_at=round(self._started_at, 3),
            log=self._spec.log,
            data=self._spec.data,
            error=self._error,
            failures=dict(self._failures),
        )

    def request_stop(self) -> None:
        """Send the stop signal without waiting."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(self._spec.stop_signal if self._spec.grace_s else signal.SIGKILL)

    def stop(self) -> None:
        """Stop the process and everything in its group."""
        process = self._process
        if process is None:
            return
        self.request_stop()
        try:
            process.wait(self._spec.grace_s or None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._clear(process.pid)

    def _probe(self) -> None:
        now = time.monotonic()
        if now < self._next_probe:
            return
        self._next_probe = now + PROBE_EVERY_S
        if self._spec.probe == "triton":
            self._ready = triton_ready(self._ports["http"], self._server_id)
            self._failures = triton_failures(self._ports["http"]) if self._ready else {}
        else:
            self._ready = socket_ready(self._ports["grpc"])
        self._was_ready |= self._ready
        if self._ready and self._process is not None:
            self._workers = children(self._process.pid)
            if self._spec.probe == "triton":
                # With one new folder alone it is ours; of several, as when another server starts too, nobody can say.
                made = extraction_folders() - self._extraction_before
                self._extraction = made.pop() if len(made) == 1 else None
        elif now - self._started > self._ready_timeout_s:
            self._note(f"not ready after {self._ready_timeout_s:.0f} s")
            self.stop()
            self._gone(f"not ready after {self._ready_timeout_s:.0f} s{self._because()}")

    def _on_exit(self, code: int) -> None:
        pid = self._process.pid if self._process else 0
        self._clear(pid)
        if not self._was_ready and self._attempts < PORT_ATTEMPTS:
            output = list(self._output())
            taken = first_match(output, *PORT_TAKEN)
            if taken or first_match(output, *MISSED):
                self._attempts += 1
                self._note("a port was taken meanwhile; choosing others" if taken else "it crashed; starting again")
                self._ports = dict.fromkeys(self._ports, 0) if taken else self._ports
                self.start()
                return
        self._gone(f"ended with {_outcome(code)}{self._because()}")

    def _on_dead_worker(self) -> None:
        # Triton goes on calling the model ready, and every request to it fails.
        self.stop()
        self._gone("the worker of a model died")

    def _gone(self, reason: str) -> None:
        self._error = reason
        self._note(reason)
        if not self._was_ready:
            self.failed_at_start = True
        elif self._in_a_row >= self._max_restarts:
            self._error = f"{reason}; given up after {self._in_a_row} restarts"
        else:
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._in_a_row)
            self._in_a_row += 1
            self._restarts += 1
            self._next_start = time.monotonic() + pause

    def _clear(self, group: int) -> None:
        # Triton's Python workers share its group; one that failed to load outlives a killed server.
        kill_group(group)
        if self._spec.probe == "triton":
            remove_shared_memory(self._shm_prefix)
        if self._extraction is not None:
            with suppress(OSError):
                self._extraction.rmdir()
            self._extraction = None
        self._process, self._ready, self._token, self._workers = None, False, "", []

    def _because(self) -> str:
        line = first_match(self._output(), *TELLING)
        return f": {line.strip()[:300]}" if line else ""

    def _output(self) -> list[str]:
        """What the present process wrote."""
        return tail(Path(self._spec.log), start=self._log_start)

    def _note(self, text: str) -> None:
        with suppress(OSError), Path(self._spec.log).open("a", encoding="utf-8") as log:
            log.write(f"[supervisor {time.strftime('%Y-%m-%dT%H:%M:%S')}] {self.name}: {text}\n")


def _filled(argument: str, ports: dict[str, int]) -> str:
    # Not str.format: paths may hold braces.
    for kind, port in ports.items():
        argument = argument.replace(f"{{{kind}}}", str(port))
    return argument


def _outcome(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}"
