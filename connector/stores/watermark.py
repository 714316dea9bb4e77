"""What the writers of one host know of a collection: a lock that one of them holds at a time, and a small record.

The record says how new the stored rows can be, so that a writer with newer rows need not ask. It is raised before rows
are sent, so a writer that dies leaves it too high, which costs a comparison, and never too low. It is believed only
while it was written since the host started and for the collection as it is now; whoever finds no such record asks
Milvus.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from connector.errors import StoreError, StoreUnavailableError

Moment = tuple[int, int]
"""Event time and created time, microseconds since 1970 UTC."""

POLL_S = 0.01
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass
class Watermark:
    """What is known of a collection, by whoever holds its lock.

    Attributes:
        newest: nothing that a writer of this host has sent is newer; None while unknown.
        checked: when Milvus was last asked for newer rows, on the host's monotonic clock.
    """

    newest: Moment | None = None
    checked: float = float("-inf")


class Watermarks:
    """Locks and records of one Milvus endpoint, in a folder that all its writers on this host share.

    Args:
        folder: of this user alone; made when first needed.
        place: what tells the endpoint from others: its address and database.
        patience_s: seconds to wait for a lock.
    """

    def __init__(self, folder: Path, place: str, patience_s: float) -> None:
        self._folder = folder
        self._place = place
        self._patience = patience_s
        self._lock = threading.Lock()
        self._threads: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)

    @contextmanager
    def hold(self, collection: str) -> Iterator[Record]:
        """Keep every other writer of the collection on this host waiting; their death frees the lock.

        Raises:
            StoreUnavailableError: others have held it for all of the patience.
            StoreError: the folder cannot be written.
        """
        with self._lock:
            threads = self._threads[collection]
        name = hashlib.sha256(f"{self._place}\n{collection}".encode()).hexdigest()[:32]
        if not threads.acquire(timeout=self._patience):
            raise self._busy(collection, "thread")
        try:
            lock = FileLock(_private(self._folder) / f"{name}.lock", timeout=self._patience, poll_interval=POLL_S)
            try:
                lock.acquire()
            except Timeout:
                raise self._busy(collection, "process") from None
            except OSError as error:
                raise _unusable(self._folder, error) from error
            try:
                yield Record(self._folder / f"{name}.json")
            finally:
                lock.release()
        finally:
            threads.release()

    def _busy(self, collection: str, other: str) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"collection {collection}: another {other} has been writing to it for {self._patience:.0f} s; "
            "wait for it, or raise online_store.patience_s"
        )


class Record:
    """The record of a collection whose lock is held."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, identity: str) -> Watermark:
        """What is known; nothing, if that was another collection of this name, or before the host started.

        Args:
            identity: Milvus's own number of the collection, another one for each that is made.
        """
        try:
            found = json.loads(self._path.read_bytes())
            if found["collection"] != identity or found["boot"] != _boot():
                return Watermark()
            event, created = found["newest"]
            return Watermark((int(event), int(created)), float(found["checked"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Watermark()

    def write(self, identity: str, mark: Watermark) -> None:
        """Replace it. Not synced to disk: a record from before a power cut is not believed."""
        if mark.newest is None:
            return self.forget()
        text = json.dumps({"collection": identity, "boot": _boot(), "newest": mark.newest, "checked": mark.checked})
        part = self._path.with_suffix(".part")
        try:
            part.write_text(text)
            part.replace(self._path)
        except OSError as error:
            raise _unusable(self._path.parent, error) from error
        return None

    def forget(self) -> None:
        """Nothing is known any longer."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(self._path.parent, error) from error


def now() -> float:
    """Seconds on the clock of `Watermark.checked`, the same for all processes of a host."""
    return time.monotonic()


def _private(folder: Path) -> Path:
    """The folder, made for this user alone; one that others can write would let them plant records."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = folder.stat()
    except OSError as error:
        raise _unusable(folder, error) from error
    if hasattr(os, "getuid") and (held.st_uid != os.getuid() or held.st_mode & 0o022):
        raise StoreError(
            f"state folder {folder} can be written by others; set CONNECTOR_STATE_FOLDER to a folder of your own"
        )
    return folder


def _unusable(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"state folder {folder}: {error.strerror or error}; set CONNECTOR_STATE_FOLDER to a folder that can be written"
    )


@cache
def _boot() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        import psutil

        return str(int(psutil.boot_time()))
