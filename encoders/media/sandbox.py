"""Decoding of untrusted media in processes of their own: what crashes there fails one row and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import weakref
from pathlib import Path
from typing import IO, Any

from encoders.errors import EncoderError, EncoderLoadError, InvalidInputError
from encoders.media.checks import require_bytes
from encoders.media.child import BROKEN, OK, read_message, write_message
from encoders.media.decoding import Recipe, Row
from encoders.wire import unpack

SECONDS = 60.0
MEMORY = 4 * 1024**3
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Sandbox:
    """Decoding processes, started when first needed and again when one died. Safe to call from several threads.

    Args:
        recipe: what they do.
        processes: at most so many at once; callers beyond wait.
        seconds: of processor time that one input may take, and a quarter of what it may by the clock.
        memory: bytes of address space of each process.
    """

    def __init__(self, recipe: Recipe, *, processes: int = 1, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._recipe = recipe
        self._told = json.dumps({"recipe": recipe.to_dict(), "seconds": seconds, "memory": memory}).encode()
        self._seconds = seconds
        self._most = int(recipe.limits.get("max_bytes", 0)) or None
        self._free = threading.Semaphore(max(1, processes))
        self._lock = threading.Lock()
        self._idle: list[subprocess.Popen[bytes]] = []
        # Encoders that nobody closes leave no process behind either.
        self._finalizer = weakref.finalize(self, _end_all, self._idle)

    def decode(self, content: Any) -> Row:
        """One encoded input → one row of the network's inputs.

        Raises:
            InvalidInputError: it cannot be decoded, took too long or too much memory, or crashed the decoder.
            EncoderLoadError: decoding processes cannot be started.
        """
        data = require_bytes(content, _name(self._recipe.kind), self._most or sys.maxsize)
        with self._free:
            process = self._take()
            try:
                process = process or self._start()
                answer = self._ask(process, data)
            except BaseException:
                if process is not None:
                    _end(process)
                raise
            with self._lock:
                self._idle.append(process)
        if answer[:1] != OK:
            raise InvalidInputError(answer[1:].decode("utf-8", "replace"))
        return unpack(memoryview(answer)[1:])

    def close(self) -> None:
        """End the processes; they are started again if need be."""
        with self._lock:
            ending, self._idle[:] = list(self._idle), []
        _end_all(ending)

    def _take(self) -> subprocess.Popen[bytes] | None:
        """A process that waits. One that died while it waited was not killed by the input that comes next."""
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None or process.poll() is None:
                return process
            _end(process)

    def _ask(self, process: subprocess.Popen[bytes], data: bytes) -> bytes:
        source, target = _pipes(process)
        try:
            write_message(target, b"", data)
            answer = read_message(source)
        except OSError:
            answer = None
        if answer is None:
            raise InvalidInputError(self._cause(_end(process)))
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).parents[2])
        # The process decodes foreign files: it is told nothing that it does not need.
        variables = {name: value for name, value in os.environ.items() if name in ("LD_LIBRARY_PATH", "SYSTEMROOT")}
        variables |= {"PYTHONPATH": root, "PYTHONSAFEPATH": "1", **dict.fromkeys(THREAD_VARIABLES, "1")}
        try:
            process = subprocess.Popen(
                [_python(), "-m", "encoders.media.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=variables,
                # Python 3.10 would look for modules in the working folder first, whatever lies there.
                cwd=root,
            )
        except OSError as error:
            raise EncoderLoadError(f"{_python()}: a decoding process cannot be started ({error.strerror})") from error
        source, target = _pipes(process)
        try:
            write_message(target, b"", self._told)
            greeting = read_message(source)
        except OSError:
            greeting = None
        if greeting is None or greeting[:1] != OK:
            _end(process)
            reason = greeting[1:].decode("utf-8", "replace") if greeting and greeting[:1] == BROKEN else "it ended"
            raise EncoderLoadError(f"{self._recipe.kind}: the decoding process did not start ({reason})")
        return process

    def _cause(self, code: int) -> str:
        if code in (-getattr(signal, "SIGPROF", 27), -getattr(signal, "SIGALRM", 14)):
            return f"took longer to decode than {self._seconds:g} seconds"
        if code == -getattr(signal, "SIGKILL", 9):
            return "its decoding was killed, for its memory most likely"
        return f"the decoder crashed on it ({signal.Signals(-code).name if code < 0 else f'exit status {code}'})"


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdout is None or process.stdin is None:
        raise EncoderError("a decoding process without pipes")
    return process.stdout, process.stdin


def _end(process: subprocess.Popen[bytes]) -> int:
    """End a process and give its exit status: its own, where it died by itself."""
    try:
        code = process.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    for pipe in _pipes(process):
        try:
            pipe.close()
        except OSError:
            continue
    return code


def _end_all(processes: list[subprocess.Popen[bytes]]) -> None:
    while processes:
        process = processes.pop()
        process.kill()
        _end(process)


def _python() -> str:
    """The interpreter of this environment; inside Triton's Python backend `sys.executable` may be something else."""
    if Path(sys.executable or "").name.startswith("python"):
        return sys.executable
    return str(Path(sysconfig.get_path("scripts")) / "python3")


def _name(kind: str) -> str:
    return {"audio": "sound", "image": "picture", "video": "film", "wave": "sound"}[kind]
