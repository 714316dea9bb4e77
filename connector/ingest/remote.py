"""Fetching media over HTTP on behalf of a catalogue that may be hostile."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

from connector.ingest.addresses import public_addresses

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 256 * 1024


class MediaError(Exception):
    """One media cell that could not be had; the message is the row's reason."""


class HttpFetcher:
    """GET with a size bound, a deadline over the whole transfer, and no way into this machine's own network.

    Args:
        max_bytes: of a body.
        timeout_s: seconds for one file, redirects included; host names are resolved by the system, in its own time.
        trusted: URLs for which the address is not checked (those under `media_root`).
    """

    def __init__(self, max_bytes: int, timeout_s: float, trusted: Callable[[str], bool]) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._trusted = trusted
        self._tls = ssl.create_default_context()

    def check(self, url: str) -> None:
        """Refuse addresses that are not on the public internet, unless trusted.

        Raises:
            MediaError: a private, loopback or link-local address, or a host that does not resolve.
        """
        if self._trusted(url):
            return
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise MediaError("redirected to something other than http(s)")
        _require_public(parts.hostname, parts.port or 443)

    def fetch(self, url: str) -> bytes:
        """The body of `url`.

        Raises:
            MediaError: refused, failed, too large or too slow.
        """
        deadline = time.monotonic() + self._timeout_s
        try:
            with _Alarm(deadline) as alarm:
                for _ in range(MAX_REDIRECTS + 1):
                    self.check(url)
                    with self._opener(url, alarm).open(url, timeout=self._timeout_s) as response:
                        target = response.headers.get("Location")
                        if response.status not in _REDIRECTS or not target:
                            return self._body(response, deadline)
                        url = urljoin(url, target)
        except (OSError, ValueError, http.client.HTTPException) as error:
            late = time.monotonic() >= deadline or isinstance(error, TimeoutError)
            if late or isinstance(getattr(error, "reason", None), TimeoutError):
                raise MediaError(f"not there within {self._timeout_s:g} s") from error
            raise MediaError(f"cannot be fetched ({type(error).__name__})") from error
        raise MediaError(f"more than {MAX_REDIRECTS} redirects")

    def _opener(self, url: str, alarm: _Alarm) -> urllib.request.OpenerDirector:
        opener = urllib.request.OpenerDirector()
        checked = None if self._trusted(url) else urlsplit(url).hostname
        # No handler for redirects or errors: urllib's read a redirect's body whole, however long.
        for handler in (
            urllib.request.ProxyHandler(),
            _Handler(partial(_Connection, alarm, checked)),
            _SecureHandler(partial(_SecureConnection, alarm, checked), self._tls),
        ):
            opener.add_handler(handler)
        return opener

    def _body(self, response: Any, deadline: float) -> bytes:
        if response.status != http.client.OK:
            raise MediaError(f"HTTP status {response.status}")
        body = bytearray()
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > self._max_bytes:
                raise MediaError(f"over {self._max_bytes:,} bytes (ingest.max_media_bytes)")
            if time.monotonic() > deadline:
                break
        if time.monotonic() > deadline:  # the end of what was read may be where the connection was cut
            raise MediaError(f"not there within {self._timeout_s:g} s")
        return bytes(body)


def _require_public(host: str, port: int) -> list[str]:
    """Addresses of a host, all of them public.

    Raises:
        MediaError: one is not, or the host does not resolve.
    """
    try:
        found = public_addresses(host, port)
    except (OSError, UnicodeError, ValueError) as error:
        raise MediaError(f"host {host[:100]} does not resolve") from error
    if not found:
        raise MediaError(f"host {host[:100]} is not a public address; name it by media_root")
    return found


class _Alarm:
    """Cuts connections at a deadline: a timeout bounds each wait for bytes, not their sum. A context manager."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._watched: list[socket.socket] = []
        self._timer = threading.Timer(max(0.0, deadline - time.monotonic()), self._cut)
        self._timer.daemon = True

    def watch(self, sock: socket.socket) -> None:
        """Cut this one too; another handle of it is kept, since TLS takes the first one over."""
        self._watched.append(sock.dup())

    def _cut(self) -> None:
        for sock in list(self._watched):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> _Alarm:
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        self._timer.join()
        for sock in self._watched:
            sock.close()


class _Checked:
    """Goes to the very address that was checked: a host's name may stand for another one the next time it is asked for.

    Args:
        checked: host whose addresses must be public; None for any. A proxy is another host.
    """

    def __init__(self, alarm: _Alarm, checked: str | None, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._alarm, self._checked = alarm, checked
        self._create_connection = self._reach

    def _reach(self, address: tuple[str, int], _timeout: Any = None, source_address: Any = None) -> socket.socket:
        host, port = address
        refused: OSError = TimeoutError("no time was left")
        for place in _require_public(host, port) if host == self._checked else [host]:
            left = self._alarm.deadline - time.monotonic()
            if left <= 0:
                break
            try:
                sock = socket.create_connection((place, port), left, source_address)
            except OSError as error:
                refused = error
                continue
            self._alarm.watch(sock)
            return sock
        raise refused


class _Connection(_Checked, http.client.HTTPConnection):
    """Over HTTP."""


class _SecureConnection(_Checked, http.client.HTTPSConnection):
    """Over HTTPS."""


class _Handler(urllib.request.HTTPHandler):
    def __init__(self, connection: Callable[..., Any]) -> None:
        super().__init__()
        self._connection = connection

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self._connection, request)


class _SecureHandler(urllib.request.HTTPSHandler):
    def __init__(self, connection: Callable[..., Any], context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._connection, self._tls = connection, context

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self._connection, request, context=self._tls)
