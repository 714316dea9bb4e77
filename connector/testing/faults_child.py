"""A Python process that a test kills: by hand, at a request (see `KillingProxy`), or at a counted file event."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True)
class FileEvents:
    """Where a child dies by itself, or how its events are counted.

    Python's audit events are counted in the child, so the program under test needs no hook. An event is announced
    before it happens: the child that dies at the third `os.rename` has renamed two files.

    Attributes:
        events: audit events: `os.rename` (also `os.replace`), `os.remove`, `os.mkdir`, `os.rmdir`, `os.truncate`, and
            `open`, which here means opening to write.
        under: only paths below this folder count; empty for all.
        at: number of the event at which the child is killed, from 1; 0 only counts.
        count_to: file that holds the number of events when the child has ended undisturbed.
    """

    events: tuple[str, ...] = ("os.rename",)
    under: str = ""
    at: int = 0
    count_to: str = ""


class Child:
    """A running Python process; `with` ends it by force.

        with Child(["-c", "print(1)"], log=tmp_path / "log") as child:
            assert child.wait(10) == 0

    Args:
        arguments: of Python: `["-c", code, …]`, `["-m", module, …]` or `[script, …]`.
        log: file of its output.
        environment: variables besides this process's own.
        folder: working folder; default this process's own.
        dies: file event at which it is killed.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        dies: FileEvents | None = None,
    ) -> None:
        self.log = log
        before = [] if dies is None else ["-m", "connector.testing.faults_audit", json.dumps(dies.__dict__)]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *before, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", **_import_path(), **(environment or {})},
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self._process.poll() == -signal.SIGKILL

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")

    def wait(self, timeout_s: float) -> int:
        """Exit code, negative for a signal.

        Raises:
            TimeoutError: it still runs; its output is in the message.
        """
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the child still runs after {timeout_s:.0f} s: {self.output[-2000:]}") from None

    def kill(self) -> None:
        """SIGKILL; killing twice is fine."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def seeded_points(total: int, points: int, seed: int) -> list[int]:
    """At most `points` different numbers of 1 … `total`, sorted, the same for the same seed.

    Run the program once undisturbed to learn `total` (`KillingProxy.requests`, `FileEvents.count_to`), then once for
    each point.
    """
    return sorted(random.Random(seed).sample(range(1, total + 1), min(points, total)))


def _import_path() -> dict[str, str]:
    """The child imports what this process imports, from wherever it runs."""
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path and Path(path).is_dir())}
