"""Where Milvus is, how to reach it, and its errors in our words."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from connector.errors import ConfigurationError, StoreError, StoreUnavailableError
from connector.stores import lite
from connector.stores.absence import one_line, passing

if TYPE_CHECKING:
    from pymilvus import MilvusClient

Consistency = Literal["Strong", "Session", "Bounded", "Eventually"]
CONNECT_S = 10.0
LEAST_DEADLINE_S = 3.0
SERVICE = "milvus.proto.milvus.MilvusService"
ONCE: dict[str, Any] = {"timeout": None, "retry_times": 0, "retry_on_rate_limit": False}
"""Options of a call that pymilvus makes once; the connection's deadline holds."""


@dataclass(frozen=True)
class MilvusEndpoint:
    """Where Milvus is.

    Attributes:
        uri: `http://host:19530`, `https://…`, or the path of a Milvus Lite database, ending in `.db`.
        token: `user:password`, or an API key.
        user: with `password`, instead of `token`.
        db_name: Milvus database; empty is the default one.
        timeout_s: seconds for one call; for a read or a search, its retries included.
        patience_s: seconds for which a write is tried again while Milvus is away, not ready, or asks to slow down.
        consistency: of reads and searches. This process sees its own writes at every level.
        prefix: put before every collection and alias name, for several projects in one database.
        tls: encrypt; an https URI does so by itself.
        server_pem_path: the server's certificate, for one-way TLS.
        ca_pem_path: certificate authority, for two-way TLS, with the client's pair below.
        client_pem_path: client certificate.
        client_key_path: client key.
        server_name: name in the server's certificate, where it is not the host's.
        max_columns: that the server takes in a collection, its `proxy.maxFieldNum`; Milvus Lite takes any number.
        state_folder: where writers on this host keep their locks; default see `connector.stores.state_folder`.
    """

    uri: str
    token: str = ""
    user: str = ""
    password: str = ""
    db_name: str = ""
    timeout_s: float = 30.0
    patience_s: float = 60.0
    consistency: Consistency = "Session"
    prefix: str = ""
    tls: bool = False
    server_pem_path: str | None = None
    ca_pem_path: str | None = None
    client_pem_path: str | None = None
    client_key_path: str | None = None
    server_name: str | None = None
    max_columns: int = 64
    state_folder: Path | None = None

    @property
    def lite_path(self) -> Path | None:
        """Data folder of Milvus Lite, or None where `uri` is a server's."""
        return Path(self.uri) if self.uri.endswith(".db") and "://" not in self.uri else None

    def __repr__(self) -> str:
        return f"MilvusEndpoint({self.uri!r})"


class Connection:
    """An open client and what has to be let go with it."""

    def __init__(self, endpoint: MilvusEndpoint) -> None:
        self._lite: Path | None = None
        self.uri = endpoint.uri
        path = endpoint.lite_path
        self.place = f"{_plain(self.uri)} {endpoint.db_name}"
        if path is not None:
            shared = _shared_server(path)
            if shared is None:
                _quiet()
                self.uri, self._lite = lite.acquire(path), path
                self.place = str(path.resolve())
            else:
                self.uri = shared
                self.place = f"{_plain(shared)} {endpoint.db_name}"
        try:
            self.client = _connect(self.uri, endpoint)
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        """Close the client, and Milvus Lite with its last user."""
        self.client.close()
        self._release()

    def _release(self) -> None:
        if self._lite is not None:
            lite.release(self._lite)
            self._lite = None


class translated:  # noqa: N801 - reads as the block it guards
    """Turn whatever pymilvus raises inside the block into one line of ours.

    Args:
        place: what is being done, for the message.

    Raises:
        StoreUnavailableError: no answer, or one that says that another try may succeed.
        StoreError: a refusal.
    """

    __slots__ = ("_place",)

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, StoreError):
            return
        import grpc
        from pymilvus.exceptions import MilvusException

        if isinstance(error, MilvusException | grpc.RpcError):
            message, passes = one_line(error), passing(error)
            if passes:
                raise StoreUnavailableError(f"Milvus {passes} ({self._place}): {message}") from error
            raise StoreError(f"{self._place}: {message}") from error
        if isinstance(error, TypeError | ValueError):
            raise StoreError(f"{self._place}: {one_line(error)}") from error


def _plain(uri: str) -> str:
    """An address as every process of this host would write it."""
    return uri.lower().rstrip("/").replace("//localhost", "//127.0.0.1").replace("//[::1]", "//127.0.0.1")


def _connect(uri: str, endpoint: MilvusEndpoint) -> MilvusClient:
    from pymilvus import MilvusClient

    _quiet()
    options: dict[str, Any] = {
        name: value
        for name in ("server_pem_path", "ca_pem_path", "client_pem_path", "client_key_path", "server_name")
        if (value := getattr(endpoint, name)) is not None
    }
    if endpoint.tls:
        options["secure"] = True
    if not uri.startswith(("http://", "https://", "tcp://", "unix:")):
        raise ConfigurationError(f"online_store.uri {uri!r}: expected http://host:port, or a path that ends in .db")
    try:
        with translated("connect"):
            return MilvusClient(
                uri=uri,
                user=endpoint.user,
                password=endpoint.password,
                token=endpoint.token,
                db_name=endpoint.db_name,
                timeout=min(endpoint.timeout_s, CONNECT_S),
                dedicated=True,
                grpc_options={"grpc.service_config": _deadlines(endpoint.timeout_s)},
                **options,
            )
    except StoreError as error:
        remedy = "check online_store in feature_store.yaml, or start it"
        raise StoreUnavailableError(f"no Milvus at {uri}: {error}; {remedy}") from error


def _deadlines(seconds: float) -> str:
    """gRPC's service configuration: a deadline for calls that are given none.

    pymilvus repeats a call until the timeout that it is given has passed. A write must not be repeated before newer
    rows have been asked for, so it is made without one. gRPC ends calls as they begin where a deadline that is
    configured so is short; seen at 1.5 s.
    """
    seconds = max(seconds, LEAST_DEADLINE_S)
    return json.dumps({"methodConfig": [{"name": [{"service": SERVICE}], "timeout": f"{seconds:.3f}s"}]})


def _shared_server(path: Path) -> str | None:
    """URI of the server that `connector up` runs on this data, if it runs."""
    try:
        from connector.serving.state import running_milvus
    except ImportError:
        return None
    uri: str | None = running_milvus(path)
    return uri


def _quiet() -> None:
    """pymilvus and milvus_lite log a traceback for every refused call; what it says is in the error we raise."""
    for name in ("pymilvus", "milvus_lite"):
        logger = logging.getLogger(name)
        if logger.level != logging.DEBUG:
            logger.setLevel(logging.CRITICAL)
