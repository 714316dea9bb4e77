"""The decoding process: reads encoded files from its input, writes a row of network inputs for each to its output.

A decoder that crashes, hangs or eats memory takes this process with it and nothing else. Started by `Sandbox`.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from contextlib import suppress
from typing import IO

LENGTH = struct.Struct("<Q")
OK, BAD, BROKEN = b"+", b"-", b"!"
# Seconds by the clock for each second of work: what a file is worth must not hang on how busy the machine is.
WAITING = 4


def main() -> None:
    """Serve until the input ends."""
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    # What libraries print must not get between the answers.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    # Whoever started this process decides when it ends, not the terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = json.loads(read_message(source) or b"{}")
    _confine(int(told["memory"]))
    try:
        from encoders.errors import InvalidInputError
        from encoders.media.decoding import Recipe
        from encoders.wire import pack

        decode = Recipe(**told["recipe"]).decoder()
    except Exception as error:  # noqa: BLE001 - the one who started this process has to hear of anything
        write_message(target, BROKEN, " ".join(str(error).split()).encode())
        return
    write_message(target, OK, b"")
    seconds = float(told["seconds"])
    while (content := read_message(source)) is not None:
        _alarm(seconds)
        try:
            status, answer = OK, pack(decode(content))
        except InvalidInputError as error:
            status, answer = BAD, error.reason.encode("utf-8", "backslashreplace")
        except MemoryError:
            status, answer = BAD, b"needs more memory to decode than it may"
        _alarm(0)
        write_message(target, status, answer)


def read_message(stream: IO[bytes]) -> bytes | None:
    """One message, or None at the end of the stream."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = stream.read(length)
    return body if len(body) == length else None


def write_message(stream: IO[bytes], status: bytes, body: bytes) -> None:
    """Write a message, a status of one byte (or none) in front."""
    stream.write(LENGTH.pack(len(status) + len(body)) + status)
    stream.write(body)
    stream.flush()


def _confine(memory: int) -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _alarm(seconds: float) -> None:
    """End this process after `seconds` of its own work, or when so much more has passed that it must be waiting."""
    # Left to their defaults, the signals end the process even where a library never comes back to Python.
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, WAITING * seconds)


if __name__ == "__main__":
    main()
    sys.exit(0)
