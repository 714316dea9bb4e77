"""Fetching media over HTTP on behalf of a catalogue that may be hostile."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import time
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 256 * 1024


class MediaError(Exception):
    """One media cell that could not be had; the message is the row's reason."""


class HttpFetcher:
    """GET with a size bound, a deadline over the whole transfer, and no way into this machine's own network.

    Args:
        max_bytes: of a body.
        timeout_s: seconds for one file, redirects included.
        trusted: URLs for which the address is not checked (those under `media_root`).
    """

    def __init__(self, max_bytes: int, timeout_s: float, trusted: Callable[[str], bool]) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._trusted = trusted
        self._opener = urllib.request.OpenerDirector()
        # No handler for redirects or errors: urllib's read a redirect's body whole, however long.
        for handler in (urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler()):
            self._opener.add_handler(handler)

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
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError, ValueError) as error:
            raise MediaError(f"host {parts.hostname[:100]} does not resolve") from error
        for *_, address in found:
            if not ipaddress.ip_address(str(address[0]).split("%")[0]).is_global:
                raise MediaError(f"host {parts.hostname[:100]} is not a public address; name it by media_root")

    def fetch(self, url: str) -> bytes:
        """The body of `url`.

        Raises:
            MediaError: refused, failed, too large or too slow.
        """
        deadline = time.monotonic() + self._timeout_s
        try:
            for _ in range(MAX_REDIRECTS + 1):
                self.check(url)
                with self._opener.open(url, timeout=self._timeout_s) as response:
                    target = response.headers.get("Location")
                    if response.status not in _REDIRECTS or not target:
                        return self._body(response, deadline)
                    url = urljoin(url, target)
        except TimeoutError as error:
            raise MediaError(f"not there within {self._timeout_s:g} s") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            if isinstance(getattr(error, "reason", None), TimeoutError):
                raise MediaError(f"not there within {self._timeout_s:g} s") from error
            raise MediaError(f"cannot be fetched ({type(error).__name__})") from error
        raise MediaError(f"more than {MAX_REDIRECTS} redirects")

    def _body(self, response: Any, deadline: float) -> bytes:
        if response.status != http.client.OK:
            raise MediaError(f"HTTP status {response.status}")
        body = bytearray()
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > self._max_bytes:
                raise MediaError(f"over {self._max_bytes:,} bytes (ingest.max_media_bytes)")
            if time.monotonic() > deadline:
                raise MediaError(f"not there within {self._timeout_s:g} s")
        return bytes(body)
