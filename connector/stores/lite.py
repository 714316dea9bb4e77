"""Milvus Lite in this process: one gRPC server for each data folder, shared by every store that opens it.

A data folder belongs to one process at a time, so the count of its users has to be the process's own; it is the one
piece of state that outlives a store.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from connector.errors import ConfigurationError, StoreUnavailableError

_lock = threading.Lock()
_users: dict[str, int] = {}


def acquire(path: Path) -> str:
    """Serve the data folder from this process, or join the server that does → its URI. Pair with `release`.

    Raises:
        StoreUnavailableError: another process has it open, or it cannot be opened.
    """
    try:
        from milvus_lite.server_manager import server_manager_instance
    except ImportError as error:
        raise ConfigurationError(
            "Milvus Lite is not installed: pip install milvus-lite, or set online_store.uri to a Milvus server"
        ) from error
    name = str(path.resolve())
    with _lock:
        path.resolve().parent.mkdir(parents=True, exist_ok=True)
        logging.getLogger("grpc._server").addFilter(_is_news)
        uri = server_manager_instance.start_and_get_uri(name)
        if uri is None:
            reason = "another process has it open" if _held_elsewhere(path) else "it cannot be opened"
            raise StoreUnavailableError(
                f"Milvus Lite data {path}: {reason}; run `connector up` so that several processes share it, "
                "or set online_store.uri to a Milvus server"
            )
        _users[name] = _users.get(name, 0) + 1
        return str(uri)


def release(path: Path) -> None:
    """Stop serving the data folder once its last user has released it."""
    from milvus_lite.server_manager import server_manager_instance

    name = str(path.resolve())
    with _lock:
        _users[name] = _users.get(name, 1) - 1
        if _users[name] <= 0:
            del _users[name]
            server_manager_instance.release_server(name)


def _is_news(record: logging.LogRecord) -> bool:
    """Calls that Milvus Lite does not know are answered so, and pymilvus goes on; gRPC logs each with a traceback."""
    return record.exc_info is None or not isinstance(record.exc_info[1], NotImplementedError)


def _held_elsewhere(path: Path) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    try:
        with (path / "LOCK").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
