"""What a reconciliation found and did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class VersionDifferences:
    """One version of a view: its log against its collection.

    Attributes:
        version: label; empty for a plain view.
        rows: of the log, each event of a key counted; `keys`: different keys among them; `stored`: rows in Milvus.
        missing: keys of the log that Milvus does not have.
        stale: keys that Milvus has an older event of.
        changed: keys that Milvus has at the same time with other content.
        orphans: rows in Milvus whose key the log does not have.
        ahead: keys that Milvus has a newer event of than the log; never touched, since newest wins.
        unusable: rows of the log that no store can hold.
        examples: kind → the first keys of it.
        written, removed: rows that a repair wrote to and deleted from Milvus.
    """

    view: str
    version: str
    state: str
    collection: str
    log: str
    rows: int = 0
    keys: int = 0
    stored: int = 0
    missing: int = 0
    stale: int = 0
    changed: int = 0
    orphans: int = 0
    ahead: int = 0
    unusable: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)
    written: int = 0
    removed: int = 0

    @property
    def repairable(self) -> int:
        """Differences that a repair ends."""
        return self.missing + self.stale + self.changed + self.orphans


@dataclass(frozen=True)
class Compaction:
    """One log.

    Attributes:
        merged: small parts that are gone; `made`: large ones that hold their rows.
    """

    view: str
    version: str
    log: str
    merged: int
    made: int


@dataclass
class ReconcileReport:
    """A space or content view.

    Attributes:
        repaired: whether differences were repaired, not only reported.
        versions: the one that serves and the candidates, oldest first.
        notes: ingests that are under way or unfinished, a line each.
    """

    name: str
    repaired: bool = False
    versions: list[VersionDifferences] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether log and Milvus say the same now."""
        left = sum(each.ahead for each in self.versions)
        return left + (0 if self.repaired else sum(each.repairable for each in self.versions)) == 0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "agrees": self.agrees}
