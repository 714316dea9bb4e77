"""An open connection with what belongs to it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from connector.stores.admin import Admin
from connector.stores.capabilities import Capabilities, capabilities_of
from connector.stores.connection import ONCE, Connection, MilvusEndpoint, translated
from connector.stores.state_folder import state_folder
from connector.stores.watermark import Watermarks

if TYPE_CHECKING:
    from pymilvus.grpc_gen.milvus_pb2 import UpsertRequest

READY: dict[str, Any] = {"fields": []}
"""In place of the schema that pymilvus would ask Milvus for, to make a message with."""
IN_FLIGHT = 2
"""Batches of one write that are under way at once on a server."""


class Session:
    """Client, collections and threads of a store between its first call and its `close`."""

    def __init__(self, endpoint: MilvusEndpoint) -> None:
        self._connection = Connection(endpoint)
        self.client = self._connection.client
        self.admin = Admin(self.client, endpoint)
        self.marks = Watermarks(endpoint.state_folder or state_folder(), self._connection.place, endpoint.patience_s)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._version = ""
        self._timeout = endpoint.timeout_s
        self._columns = endpoint.max_columns

    @property
    def version(self) -> str:
        """What the server says of itself: `v2.3.5-lite`, `2.6.1`, `milvus_lite-3.2.2`; asked once."""
        if not self._version:
            with translated("server version"):
                self._version = str(self.client.get_server_version(timeout=self._timeout))
        return self._version

    @property
    def is_lite(self) -> bool:
        """Whether it is Milvus Lite, in this process or served by `connector up`."""
        return self.version.startswith("milvus_lite")

    @property
    def pool(self) -> ThreadPoolExecutor:
        """Threads that write; one for Milvus Lite.

        Milvus Lite 3.2 does not keep writes of one collection apart: of two that overlap, each may open the write-ahead
        log, and the rows in the one that is opened over are lost when the process is killed.
        """
        workers = 1 if self.is_lite else IN_FLIGHT
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(workers, thread_name_prefix="milvus-write")
            return self._pool

    @property
    def capabilities(self) -> Capabilities:
        """What the server can do."""
        return capabilities_of(self.version, self._columns)

    @property
    def in_key_order(self) -> dict[str, Any]:
        """What a query with a limit is asked with, so that it answers the first rows in the order of their keys.

        Milvus Lite orders the pages of an iterator only; a 2.3 server answers an iterator from what it happens to have
        seen, whatever consistency is asked for.
        """
        return {"iterator": "True"} if self.is_lite else {"reduce_stop_for_best": True}

    def upsert(self, request: UpsertRequest) -> None:
        """Send a message of rows as `MilvusClient.upsert` sends the one that it makes itself, but once.

        pymilvus takes a message that is ready; its `MilvusClient` does not pass one on.
        """
        context = self.client._generate_call_context()
        handler = self.client._get_connection()
        handler.upsert(request.collection_name, [], upsert_param=request, schema=READY, context=context, **ONCE)

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
        self._connection.close()
