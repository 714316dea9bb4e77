"""Media with words, out of catalogues: decoded, rendered, numbered; rows that cannot be used are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connector.adaptation.media_rows import Decode, MediaRows, open_media
from connector.adaptation.pictures import PictureFile, write_pictures
from connector.adaptation.spec import PairSource, columns_of
from connector.errors import TrainingError
from connector.ingest.batch import Batch


@dataclass
class PairSet:
    """All pairs of a job.

    Attributes:
        pictures: the decoded rows, uint8 [rows, side, side, 3] for pictures, mapped from disk.
        texts: the distinct words.
        text_ids: per row, the numbers in `texts` of its renderings; int64 arrays of at least one.
        groups: int64 [rows], equal where rows show the same thing.
        sources: row numbers of each source.
        skipped: reason → rows that could not be used.
    """

    pictures: PictureFile
    texts: list[str]
    text_ids: list[NDArray[np.int64]]
    groups: NDArray[np.int64]
    sources: list[NDArray[np.int64]]
    skipped: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.groups)


def read_pairs(
    sources: tuple[PairSource, ...],
    decode: Decode,
    shape: tuple[int, ...],
    cache: Path,
    on_rows: Callable[[int], None] | None = None,
    dtype: type = np.uint8,
) -> PairSet:
    """Read every source in bounded batches.

    Args:
        decode: file bytes → one row; raises ValueError for one that cannot be used.
        shape, dtype: of a row, [side, side, 3] for pictures.
        cache: folder that keeps the decoded rows.

    Raises:
        TrainingError: a catalogue or column that is not there or cannot be read, or not one usable pair.
    """
    reader = _Reader(sources, decode, on_rows or (lambda _: None))
    path = cache / "pictures.arrow"
    with ExitStack() as stack:
        # All before any is read: a wrong name in the last of them should not be found out after hours.
        opened = [stack.enter_context(open_media(s, s.column, columns_beside(s), cache=cache)) for s in sources]
        cache.mkdir(parents=True, exist_ok=True)
        write_pictures(path, reader.batches(opened), shape, dtype)
    if not reader.groups:
        reasons = "; ".join(f"{reason} ({rows} rows)" for reason, rows in reader.skipped.most_common(3))
        what = " or ".join(sorted({source.what for source in sources}))
        raise TrainingError(f"not one usable pair of {what} and words: {reasons or 'the files hold no rows'}")
    pictures = PictureFile(path, shape, dtype)
    if len(pictures) != len(reader.groups):
        raise TrainingError(
            f"{path}: another process read {len(pictures)} usable pairs, this one {len(reader.groups)}; fetch the "
            "media before the job, and name their folder as media_root"
        )
    return PairSet(
        pictures=pictures,
        texts=list(reader.texts),
        text_ids=reader.text_ids,
        groups=np.asarray(reader.groups, np.int64),
        sources=[np.asarray(rows, np.int64) for rows in reader.rows],
        skipped=reader.skipped,
    )


class _Reader:
    def __init__(self, sources: tuple[PairSource, ...], decode: Decode, on_rows: Callable[[int], None]) -> None:
        self._sources, self._decode, self._on_rows = sources, decode, on_rows
        self.texts: dict[str, int] = {}
        self.text_ids: list[NDArray[np.int64]] = []
        self.groups: list[int] = []
        self.rows: list[list[int]] = [[] for _ in sources]
        self.skipped: Counter[str] = Counter()
        self._group_numbers: dict[tuple[Any, ...], int] = {}

    def batches(self, opened: list[MediaRows]) -> Iterator[NDArray[Any]]:
        for index, media in enumerate(opened):
            for batch in media.batches():
                pictures = list(self._usable(index, media, batch))
                self._on_rows(len(batch) + len(batch.broken))
                if pictures:
                    yield np.stack(pictures)

    def _usable(self, index: int, media: MediaRows, batch: Batch) -> Iterator[NDArray[Any]]:
        source, rows = self._sources[index], media.cells(batch)
        self.skipped.update(f"row: {reason}"[:160] for reason in batch.broken.values())
        words = {row: rendered for row, cells in enumerate(rows) if (rendered := _render(source, cells))}
        self.skipped.update({"no words": len(rows) - len(words)} if len(words) < len(rows) else {})
        # A file is not fetched for a row that has no words.
        for row, picture in media.decoded(batch, list(words), self._decode):
            if isinstance(picture, str):
                self.skipped[f"{source.what}: {picture}"[:160]] += 1
                continue
            self.rows[index].append(len(self.groups))
            texts = [self.texts.setdefault(text, len(self.texts)) for text in words[row]]
            self.text_ids.append(np.asarray(texts, np.int64))
            meaning = _meaning(source, rows[row], words[row][0])
            self.groups.append(self._group_numbers.setdefault(meaning, len(self._group_numbers)))
            yield picture


def columns_beside(source: PairSource) -> list[str]:
    """The columns that a source needs beside that of its media."""
    return [*source.group, *(name for template in source.text for name in columns_of(template))]


def _meaning(source: PairSource, row: dict[str, Any], first_words: str) -> tuple[Any, ...]:
    """What a row's group is known by: the group columns and what they hold, or its words, where one holds nothing."""
    held = tuple(row[name] for name in source.group)
    if not held or any(value is None for value in held):
        return False, first_words
    return True, source.group, tuple(map(str, held))


def _render(source: PairSource, row: dict[str, Any]) -> list[str]:
    """The row's words by each template whose columns are all filled."""
    rendered: list[str] = []
    for template in source.text:
        values = {name: _worded(row[name]) for name in columns_of(template)}
        if all(value.strip() for value in values.values()):
            rendered.append(" ".join(template.format(**values).split()))
    return rendered


def _worded(value: Any) -> str:
    """A cell in words: none where it is empty, or bytes that are no text."""
    if not isinstance(value, bytes):
        return "" if value is None else str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return ""
