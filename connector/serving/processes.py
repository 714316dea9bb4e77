"""Processes that must be found again, and never mistaken for another that inherited their pid."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

SHM_PREFIX = r"mmc[0-9a-f]{12}"
EXTRACTED = Path("/tmp/python_env_??????")  # noqa: S108 - Triton asks for no other place
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory


def start_token(pid: int) -> str | None:
    """What tells this process from a later one with the same pid, or None where it is gone (or a zombie).

    On Linux the kernel's start tick with the boot id, which a corrected clock does not move.
    """
    if pid <= 0:
        return None
    if sys.platform != "linux":
        return _portable_token(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else f"{boot}-{fields[19]}"


def _portable_token(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def is_alive(pid: int, token: str) -> bool:
    """Whether the very process that `token` was taken of still runs."""
    return bool(token) and start_token(pid) == token


def children(pid: int) -> list[tuple[int, str]]:
    """Pids and tokens of the processes that a process started."""
    import psutil

    try:
        pids = [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []
    return [(child, token) for child in pids if (token := start_token(child))]


def terminate(pid: int, token: str, *, grace_s: float = 10.0, first: int = signal.SIGTERM) -> None:
    """Signal, wait, then SIGKILL; does nothing where the process is gone or the pid belongs to another."""
    if not is_alive(pid, token):
        return
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, first)
    if wait_until(lambda: not is_alive(pid, token), grace_s):
        return
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid, token), 5.0)


def wait_until(condition: Callable[[], bool], timeout_s: float, *, every_s: float = 0.03) -> bool:
    """Poll `condition` until it holds or the time is up → whether it held."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def kill_group(group: int) -> None:
    """SIGKILL what is left of a process group, such as workers that outlived their server."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now and differ from each other."""
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            ports.append(int(listener.getsockname()[1]))
        return ports


def remove_shared_memory(prefix: str) -> None:
    """Remove the shared-memory segments of one server, which a killed server leaves behind."""
    if not re.fullmatch(SHM_PREFIX, prefix) or not SHARED_MEMORY.is_dir():
        return
    for segment in SHARED_MEMORY.glob(f"{prefix}*"):
        with suppress(OSError):
            segment.unlink()


def child_setup(parent: int, death_signal: int) -> Callable[[], None]:
    """A `preexec_fn` that has the kernel send `death_signal` to the child when `parent` (the caller) dies.

    Only for single-threaded callers: the kernel watches the thread that forked, not the process.
    """
    prctl = _prctl()

    def setup() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if prctl is not None:
            prctl(death_signal)
            if os.getppid() != parent:
                os._exit(1)

    return setup


def _prctl() -> Callable[[int], None] | None:
    if sys.platform != "linux":
        return None
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    set_death_signal = 1

    def call(number: int) -> None:
        library.prctl(set_death_signal, number, 0, 0, 0)

    return call


def extraction_folders() -> set[Path]:
    """Folders that Triton's Python backends have made to extract environments into, one a server, where we may remove
    them; a server that is killed leaves its own behind, empty."""
    if not hasattr(os, "getuid"):
        return set()
    found = set()
    for folder in EXTRACTED.parent.glob(EXTRACTED.name):
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                found.add(folder)
    return found


def tail(path: Path, *, start: int = 0, most: int = 64 * 1024) -> list[str]:
    """Last lines of a log from byte `start` on, newest last; empty where there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(start, path.stat().st_size - most))
            return stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def first_match(lines: Iterable[str], *needles: str) -> str | None:
    """The first line that holds one of `needles`, any case."""
    return next((line for line in lines if any(needle in line.lower() for needle in needles)), None)
