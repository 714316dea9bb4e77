"""What an ingest did, for a person and for a script."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


class Progress(Protocol):
    """What a caller may watch. Calls come from the thread that called the ingest."""

    def start(self, total: int | None) -> None:
        """The run begins; `total` rows where the catalogue knows its size."""

    def advance(self, rows: int) -> None:
        """`rows` more catalogue rows are encoded (or absent, or left out) and on their way to the stores."""


@dataclass
class ViewReport:
    """One feature view of a run. `written + stale + absent + dead` is the number of rows read.

    Attributes:
        written: rows in the log and in the store; the log only, for a view without a collection.
        stale: rows in the log for which the store holds a newer event.
        encoded: vectors made by the encoder or read ready.
        absent: rows without the modality.
        dead: rows left out with a reason.
        skipped: why the view took no part; empty where it did.
        missing: columns the view names and the catalogue lacks: null fields, or inputs left out.
    """

    written: int = 0
    stale: int = 0
    encoded: int = 0
    absent: int = 0
    dead: int = 0
    skipped: str = ""
    missing: list[str] = field(default_factory=list)


@dataclass
class IngestReport:
    """One run.

    Attributes:
        rows: read from the catalogue, broken ones included.
        resumed: rows of those that an earlier start of the run had done; counts of views and letters include them.
        views: by name.
        dead_letters: rows of the dead-letter table.
        dead_letter_path: the table, or None where no row was left out.
        reasons: dead letters by kind.
        seconds: since this start; `rows_per_second` follows.
        stages: seconds in each stage. Stages overlap, so they add up to more than `seconds`.
    """

    run_id: str
    source: str
    rows: int = 0
    resumed: int = 0
    views: dict[str, ViewReport] = field(default_factory=dict)
    dead_letters: int = 0
    dead_letter_path: str | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def rows_per_second(self) -> float:
        """Catalogue rows for each second since this start."""
        return (self.rows - self.resumed) / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**asdict(self), "rows_per_second": round(self.rows_per_second, 1)}

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.rows:,} rows in {self.seconds:.1f} s ({self.rows_per_second:,.0f} rows/s), "
            f"run {self.run_id}"
        ]
        if self.resumed:
            lines.append(f"  resumed: {self.resumed:,} rows were done before")
        width = max((len(name) for name in self.views), default=0)
        lines += [f"  {name:<{width}}  {_view_line(view)}" for name, view in self.views.items()]
        if self.dead_letters:
            reasons = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.reasons.items()))
            lines.append(f"  {self.dead_letters:,} dead letters ({reasons}): {self.dead_letter_path}")
        return "\n".join(lines)


def _view_line(view: ViewReport) -> str:
    if view.skipped:
        return f"skipped: {view.skipped}"
    parts = [f"{view.written:,} written"]
    for count, what in ((view.stale, "stale"), (view.absent, "absent"), (view.dead, "left out")):
        if count:
            parts.append(f"{count:,} {what}")
    if view.missing:
        parts.append(f"not in the catalogue: {', '.join(view.missing)}")
    return ", ".join(parts)
