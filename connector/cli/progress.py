"""A progress bar on standard error, where a person is watching."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class ProgressBar:
    """`connector.ingest.Progress` drawn by rich; draws nothing unless standard error is a terminal."""

    def __init__(self, label: str, *, show: bool = True) -> None:
        self._label = label
        self._show = show and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None

    def start(self, total: int | None) -> None:
        if not self._show:
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._label, total=total)
        self._bar.start()

    def advance(self, rows: int) -> None:
        if self._bar is not None:
            self._bar.advance(self._task, rows)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
