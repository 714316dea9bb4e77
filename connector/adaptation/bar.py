"""A progress bar on standard error, where a person is watching."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from connector.adaptation.checkpoint import Progress


class TrainingBar:
    """Counts rows or steps; shows loss and rate beside steps.

    Args:
        total: None where it is not known.
    """

    def __init__(self, label: str, total: int | None, *, show: bool = True) -> None:
        self._label, self._total = label, total
        self._wanted = show
        self._show = show and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None

    def advance(self, rows: int) -> None:
        """`rows` more are done."""
        if self._bar is not None:
            self._bar.advance(self._task, rows)

    def notice(self, progress: Progress, rate: float) -> None:
        """A step is done."""
        if self._bar is not None:
            figures = f"loss {progress.loss:.3f}  {rate:.2f} steps/s"
            self._bar.update(self._task, completed=progress.step, figures=figures)

    def say(self, line: str) -> None:
        """A line above the bar, or on standard error where nobody watches one."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        elif self._wanted:
            print(line, file=sys.stderr)

    def __enter__(self) -> TrainingBar:
        if self._show:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(self._label, total=self._total, figures="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
