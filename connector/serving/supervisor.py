"""The process that owns local servers: starts them, watches them, starts them again, and leaves nothing behind.

Run as `python -m connector.serving.supervisor SPEC [--detach]`. Embedded, it holds a pipe from its parent and ends when
the pipe closes, which the kernel does even for a parent that was killed. Detached, it lives until it is told to stop.
If it is itself killed, the kernel signals its servers (PR_SET_PDEATHSIG). SIGHUP restarts Triton on the same ports, to
load what was published since.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from connector.serving.launch import SupervisorSpec
from connector.serving.processes import remove_shared_memory
from connector.serving.service import SupervisedService
from connector.serving.state import (
    StackState,
    own_identity,
    read_state,
    remove_marker,
    write_marker,
    write_state,
)

TICK_S = 0.1


class Supervisor:
    """Runs the servers of one `SupervisorSpec` until told to stop, or until its parent is gone."""

    def __init__(self, spec: SupervisorSpec) -> None:
        self._spec = spec
        self._services = [
            SupervisedService(service, spec.server_id, spec.shm_prefix, spec.ready_timeout_s, spec.max_restarts)
            for service in spec.services
        ]
        self._stopping = self._reloading = self._ended_well = False
        self._written: StackState | None = None

    def run(self) -> int:
        """Supervise → exit code: 1 when a server never became ready."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        try:
            for service in self._services:
                service.start()
            return self._watch()
        finally:
            self._end()

    def _watch(self) -> int:
        while True:
            for service in self._services:
                service.tick()
            self._publish()
            if any(service.failed_at_start for service in self._services):
                return 1
            if self._stopping or self._parent_gone() or self._forgotten():
                self._ended_well = True
                return 0
            if self._reloading:
                self._reloading = False
                for service in self._services:
                    service.reload()

    def _parent_gone(self) -> bool:
        if not self._spec.parent:
            time.sleep(TICK_S)
            return False
        readable, _, _ = select.select([0], [], [], TICK_S)
        return bool(readable and not os.read(0, 1024)) or os.getppid() != self._spec.parent

    def _forgotten(self) -> bool:
        """Whether a detached stack's state was deleted, with its repository perhaps: nobody could stop it any more."""
        return not self._spec.parent and self._written is not None and not Path(self._spec.state_file).exists()

    def _publish(self) -> None:
        pid, token = own_identity()
        state = StackState(
            supervisor=pid,
            token=token,
            server_id=self._spec.server_id,
            shm_prefix=self._spec.shm_prefix,
            services={service.name: service.state() for service in self._services},
        )
        if state == self._written:
            return
        # A full disk must not end the servers; it is tried again at the next tick.
        with suppress(OSError):
            for service in state.services.values():
                if service.name == "milvus" and service.ready:
                    write_marker(Path(service.data), service)
            write_state(Path(self._spec.state_file), state)
            self._written = state

    def _end(self) -> None:
        for service in self._services:
            service.request_stop()
        for service in self._services:
            service.stop()
            if service.name == "milvus":
                remove_marker(Path(service.state().data))
        remove_shared_memory(self._spec.shm_prefix)
        state_file = Path(self._spec.state_file)
        left = read_state(state_file)
        failed = any(service.failed_at_start for service in self._services)
        # Whoever waits for the start reads the reason there and removes it; a later stack's state is not ours.
        if left is not None and left.supervisor == os.getpid() and not failed:
            state_file.unlink(missing_ok=True)
        shutil.rmtree(self._spec.run_folder, ignore_errors=True)
        if self._spec.orphan_folder and (self._ended_well or os.getppid() != self._spec.parent):
            # A parent that lives reads here why a start failed; one that closed the pipe may be gone any moment.
            shutil.rmtree(self._spec.orphan_folder, ignore_errors=True)

    def _on_stop(self, *_: object) -> None:
        self._stopping = True

    def _on_reload(self, *_: object) -> None:
        self._reloading = True


def main(arguments: list[str]) -> int:
    """Entry point of the supervisor's process."""
    file = Path(arguments[0])
    spec = SupervisorSpec.from_record(json.loads(file.read_text(encoding="utf-8")))
    file.unlink()
    if "--detach" in arguments[1:]:
        if os.fork() > 0:
            os._exit(0)
        os.setsid()
    return Supervisor(spec).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
