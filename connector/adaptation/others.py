"""The other halves of pairs, words or media, by what they are known by: what comes twice is encoded once."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

from connector.adaptation.media_rows import MediaRows
from connector.adaptation.spec import PairSource
from connector.adaptation.templates import rendered
from connector.ingest.batch import Batch

Cells = list[dict[str, Any]]


class Others(Protocol):
    """Finds what rows are drawn towards.

    Attributes:
        skipped: reason → rows that have nothing to be drawn towards.
    """

    skipped: Counter[str]

    def find(self, source: PairSource, media: MediaRows, batch: Batch, cells: Cells) -> dict[int, list[str]]:
        """Row of the batch → at least one other half: words, or the digest of a file. Rows without any are left out and
        counted.

        Args:
            cells: of each row those of the columns beside its media.
        """


class RenderedWords:
    """Words, by templates over the columns."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()

    def find(self, source: PairSource, media: MediaRows, batch: Batch, cells: Cells) -> dict[int, list[str]]:
        """Row → its words by each template whose columns are all filled."""
        words = {row: found for row, held in enumerate(cells) if (found := _words(source, held))}
        if len(words) < len(cells):
            self.skipped["no words"] += len(cells) - len(words)
        return words


def _words(source: PairSource, row: dict[str, Any]) -> list[str]:
    # A source may have a template for the rows that lack a column of another one.
    found = (rendered(template, row, whole=True) for template in source.text)
    return [words for words in found if words]
