"""An open connection with what belongs to it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from connector.stores.admin import Admin
from connector.stores.connection import Connection, MilvusEndpoint, translated

IN_FLIGHT = 2
"""Batches of one write that are under way at once."""


class Session:
    """Client, collections and threads of a store between its first call and its `close`."""

    def __init__(self, endpoint: MilvusEndpoint) -> None:
        self._connection = Connection(endpoint)
        self.client = self._connection.client
        self.admin = Admin(self.client, endpoint)
        self.pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="milvus-write")
        self._matches_patterns: bool | None = None
        self._timeout = endpoint.timeout_s

    @property
    def matches_patterns(self) -> bool:
        """Whether LIKE takes suffixes and infixes: Milvus Lite, and servers from 2.4 on."""
        if self._matches_patterns is None:
            with translated("server version"):
                version = str(self.client.get_server_version(timeout=self._timeout))
            self._matches_patterns = not version.removeprefix("v").startswith(("2.0", "2.1", "2.2", "2.3"))
        return self._matches_patterns

    def close(self) -> None:
        self.pool.shutdown()
        self._connection.close()
