"""Asking a local server whether it is ready, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

PROBE_TIMEOUT_S = 2.0


def triton_ready(port: int, server_id: str) -> bool:
    """Whether the Triton on `port` is the one named `server_id` and is ready."""
    description = _ask(port, "GET", "/v2")
    return (
        isinstance(description, dict)
        and description.get("name") == server_id
        and _ask(port, "GET", "/v2/health/ready") is not None
    )


def triton_failures(port: int) -> dict[str, str]:
    """Models that did not load: `name/version` → reason in one line."""
    index = _ask(port, "POST", "/v2/repository/index")
    if not isinstance(index, list):
        return {}
    return {
        f"{entry['name']}/{entry['version']}": _first_line(entry.get("reason", ""))
        for entry in index
        if entry.get("version") and entry.get("state") == "UNAVAILABLE"
    }


def triton_models(port: int) -> dict[str, str]:
    """State of every model version: `name/version` → READY, LOADING, UNAVAILABLE."""
    index = _ask(port, "POST", "/v2/repository/index")
    if not isinstance(index, list):
        return {}
    return {f"{entry['name']}/{entry['version']}": str(entry.get("state")) for entry in index if entry.get("version")}


def socket_ready(port: int) -> bool:
    """Whether something accepts connections."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PROBE_TIMEOUT_S):
            return True
    except OSError:
        return False


def _ask(port: int, method: str, path: str) -> Any:
    """Decoded body (an empty one as {}) of a 200 answer, or None."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request(method, path, headers={"Content-Length": "0"})
        answer = connection.getresponse()
        body = answer.read()
        return (json.loads(body) if body else {}) if answer.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
