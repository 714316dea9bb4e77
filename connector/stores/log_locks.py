"""One at a time: who rewrites a log, and who carries on a run. Locks go with the process that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOENT
from pathlib import Path

from filelock import FileLock, Timeout

from connector.errors import StoreError
from connector.stores.durable import DurableFolder
from connector.stores.state_folder import state_folder

MAINTENANCE = ".maintenance.lock"


class Held(StoreError):  # noqa: N818 - a state, told apart by those who ask for the lock
    """Another process has the lock."""


@contextmanager
def locked(files: DurableFolder, name: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock `name` of a folder; of a folder elsewhere, among the processes of this machine only.

    Raises:
        Held: another one has it, and still has after `wait_s` seconds.
        StoreError: there is no room for it, or no permission.
    """
    path = _place(files, name)
    try:
        lock = _acquire(path, wait_s)
    except Timeout as error:
        raise Held(f"{path} is held by another process") from error
    except OSError as error:
        raise StoreError(
            f"{path} cannot be locked: {error.strerror or error}; make room, or check its owner"
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def maintaining(files: DurableFolder, wait_s: float = 60.0) -> Iterator[None]:
    """Hold a log while its parts are rewritten or merged.

    Raises:
        StoreError: another process still does so after `wait_s` seconds.
    """
    try:
        with locked(files, MAINTENANCE, wait_s=wait_s):
            yield
    except Held as error:
        raise StoreError(f"log {files.url}: another process is rewriting it; try again when it is done") from error


def _acquire(path: Path, wait_s: float) -> FileLock:
    """The folder may go between its making and the lock's, with the last run that was kept in it."""
    for _ in range(100):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=wait_s)
        with suppress(FileNotFoundError):
            lock.acquire()
            return lock
    raise FileNotFoundError(ENOENT, "its folder keeps vanishing", str(path))


def _place(files: DurableFolder, name: str) -> Path:
    if files.local:
        return Path(files.path(name))
    known = hashlib.sha256(files.path(name).encode()).hexdigest()[:32]
    return state_folder() / f"{known}.lock"
