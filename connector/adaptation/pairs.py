"""Media with words or other media, out of catalogues: decoded, numbered; rows that cannot be used are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connector.adaptation.media_rows import Decode, MediaRows, UsableRows, open_media
from connector.adaptation.others import Others, RenderedWords
from connector.adaptation.pictures import PictureFile, write_pictures
from connector.adaptation.spec import PairSource, columns_of
from connector.errors import TrainingError
from connector.ingest.batch import Batch


@dataclass
class PairSet:
    """All pairs of a job.

    Attributes:
        pictures: the decoded rows, uint8 [rows, side, side, 3] for pictures, mapped from disk.
        others: the distinct words, or digests of the distinct files, that rows are drawn towards.
        other_ids: per row, the numbers in `others` of its own; int64 arrays of at least one.
        groups: int64 [rows], equal where rows show the same thing.
        sources: row numbers of each source.
        skipped: reason → rows that could not be used.
        usable: digest of which rows could be.
    """

    pictures: PictureFile
    others: list[str]
    other_ids: list[NDArray[np.int64]]
    groups: NDArray[np.int64]
    sources: list[NDArray[np.int64]]
    skipped: Counter[str] = field(default_factory=Counter)
    usable: str = ""

    def __len__(self) -> int:
        return len(self.groups)


def read_pairs(
    sources: tuple[PairSource, ...],
    decode: Decode,
    shape: tuple[int, ...],
    cache: Path,
    on_rows: Callable[[int], None] | None = None,
    dtype: type = np.uint8,
    others: Others | None = None,
) -> PairSet:
    """Read every source in bounded batches.

    Args:
        decode: file bytes → one row; raises ValueError for one that cannot be used.
        shape, dtype: of a row, [side, side, 3] for pictures.
        cache: folder that keeps the decoded rows.
        others: finds the other halves; default: words.

    Raises:
        TrainingError: a catalogue or column that is not there or cannot be read, or not one usable pair.
    """
    reader = _Reader(sources, decode, on_rows or (lambda _: None), others or RenderedWords())
    path = cache / "pictures.arrow"
    with ExitStack() as stack:
        # All before any is read: a wrong name in the last of them should not be found out after hours.
        opened = [
            stack.enter_context(open_media(source, source.column, *columns_beside(source), cache=cache))
            for source in sources
        ]
        cache.mkdir(parents=True, exist_ok=True)
        write_pictures(path, reader.batches(opened), shape, dtype)
    skipped = reader.skipped + reader.others.skipped
    if not reader.groups:
        reasons = "; ".join(f"{reason} ({rows} rows)" for reason, rows in skipped.most_common(3))
        what = " or ".join(sorted({source.what for source in sources}))
        raise TrainingError(
            f"not one usable pair of {what} and {sources[0].other}: {reasons or 'the files hold no rows'}"
        )
    pictures = PictureFile(path, shape, dtype)
    if len(pictures) != len(reader.groups):
        left_out = "; ".join(f"{reason} ({rows} rows)" for reason, rows in skipped.most_common(3)) or "none"
        raise TrainingError(
            f"{path}: another process read {len(pictures)} usable pairs, this one {len(reader.groups)} (left out here: "
            f"{left_out}); media behind URLs should be fetched before the job, and their folder named as media_root"
        )
    return PairSet(
        pictures=pictures,
        others=list(reader.numbers),
        other_ids=reader.other_ids,
        groups=np.asarray(reader.groups, np.int64),
        sources=[np.asarray(rows, np.int64) for rows in reader.rows],
        skipped=skipped,
        usable=reader.usable.digest,
    )


class _Reader:
    def __init__(
        self, sources: tuple[PairSource, ...], decode: Decode, on_rows: Callable[[int], None], others: Others
    ) -> None:
        self._sources, self._decode, self._on_rows, self.others = sources, decode, on_rows, others
        self.numbers: dict[str, int] = {}
        self.other_ids: list[NDArray[np.int64]] = []
        self.groups: list[int] = []
        self.rows: list[list[int]] = [[] for _ in sources]
        self.skipped: Counter[str] = Counter()
        self.usable = UsableRows()
        self._group_numbers: dict[tuple[Any, ...], int] = {}

    def batches(self, opened: list[MediaRows]) -> Iterator[NDArray[Any]]:
        for index, media in enumerate(opened):
            for number, batch in enumerate(media.batches()):
                found = dict(self._usable(index, media, batch))
                self.usable.add(index, number, list(found))
                pictures = list(found.values())
                self._on_rows(len(batch) + len(batch.broken))
                if pictures:
                    yield np.stack(pictures)

    def _usable(self, index: int, media: MediaRows, batch: Batch) -> Iterator[tuple[int, NDArray[Any]]]:
        source, rows = self._sources[index], media.cells(batch)
        self.skipped.update(f"row: {reason}"[:160] for reason in batch.broken.values())
        others = self.others.find(source, media, batch, rows)
        # A file is not fetched for a row that has no other half.
        for row, picture in media.decoded(batch, sorted(others), self._decode):
            if isinstance(picture, str):
                self.skipped[f"{source.what}: {picture}"[:160]] += 1
                continue
            self.rows[index].append(len(self.groups))
            numbers = [self.numbers.setdefault(other, len(self.numbers)) for other in others[row]]
            self.other_ids.append(np.asarray(numbers, np.int64))
            meaning = _meaning(source, rows[row], numbers[0])
            self.groups.append(self._group_numbers.setdefault(meaning, len(self._group_numbers)))
            yield row, picture


def columns_beside(source: PairSource) -> tuple[list[str], list[str]]:
    """The columns that a source needs beside that of its media: plain ones, and those of other media."""
    plain = [*source.group, *(name for template in source.text for name in columns_of(template))]
    return plain, [] if source.towards is None else [source.towards.column]


def _meaning(source: PairSource, row: dict[str, Any], first_other: int) -> tuple[Any, ...]:
    """What a row's group is known by: the group columns and what they hold; where one holds nothing, its other half."""
    held = tuple(row[name] for name in source.group)
    if not held or any(value is None for value in held):
        return False, first_other
    return True, source.group, tuple(map(str, held))
