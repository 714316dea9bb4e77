"""Runs a Python program that dies at a counted file event: `python -m connector.testing.faults_audit ORDER …`."""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import sys
import threading
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main() -> None:
    """Count events by an audit hook, then become the program that the remaining arguments name."""
    order: dict[str, Any] = json.loads(sys.argv[1])
    _watch(order)
    kind, rest = sys.argv[2], sys.argv[3:]
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<child>", "exec"), {"__name__": "__main__"})  # noqa: S102 - a test's own program
    elif kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [kind, *rest]
        runpy.run_path(kind, run_name="__main__")


def _watch(order: dict[str, Any]) -> None:
    events, under, at, count_to = frozenset(order["events"]), order["under"], order["at"], order["count_to"]
    lock = threading.RLock()
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in events or not _counts(event, arguments, under):
            return
        with lock:
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

    if count_to:
        atexit.register(lambda: Path(count_to).write_text(str(count)))
    sys.addaudithook(hook)


def _counts(event: str, arguments: tuple[Any, ...], under: str) -> bool:
    if event == "open" and not (len(arguments) > 2 and isinstance(arguments[2], int) and arguments[2] & WRITING):
        return False
    if not under:
        return True
    paths = [os.fsdecode(path) for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)]
    return any(os.path.abspath(path).startswith(under) for path in paths)  # noqa: PTH100 - called for every event


if __name__ == "__main__":
    main()
