"""Pictures or sounds with words, out of Parquet: decoded, rendered, numbered; rows that cannot be used are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from connector.adaptation.pictures import PictureFile, write_pictures
from connector.adaptation.spec import PairSource, columns_of
from connector.errors import TrainingError

READ_ROWS = 256

Decode = Callable[[Any], NDArray[Any]]


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
    """Read every source, `READ_ROWS` rows at a time.

    Args:
        decode: file bytes → one row; raises ValueError for one that cannot be used.
        shape, dtype: of a row, [side, side, 3] for pictures.
        cache: folder that keeps the decoded rows.

    Raises:
        TrainingError: a file or column that is not there, or not one usable pair.
    """
    reader = _Reader(sources, decode, on_rows or (lambda _: None))
    for source in sources:
        if not Path(source.path).is_file():
            raise TrainingError(f"{source.path}: no such file")
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / "pictures.arrow"
    write_pictures(path, reader.batches(), shape, dtype)
    if not reader.groups:
        reasons = "; ".join(f"{reason} ({rows} rows)" for reason, rows in reader.skipped.most_common(3))
        what = " or ".join(sorted({source.what for source in sources}))
        raise TrainingError(f"not one usable pair of {what} and words: {reasons or 'the files hold no rows'}")
    return PairSet(
        pictures=PictureFile(path, shape, dtype),
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

    def batches(self) -> Iterator[NDArray[Any]]:
        for index, source in enumerate(self._sources):
            for batch in _rows_of(source):
                pictures = [p for p in (self._add(index, source, row) for row in batch) if p is not None]
                self._on_rows(len(batch))
                if pictures:
                    yield np.stack(pictures)

    def _add(self, index: int, source: PairSource, row: dict[str, Any]) -> NDArray[Any] | None:
        words = _render(source, row)
        if not words:
            self.skipped["no words"] += 1
            return None
        try:
            picture = self._decode(row[source.column])
        except ValueError as error:
            self.skipped[f"{source.what}: {error}"[:160]] += 1
            return None
        self.rows[index].append(len(self.groups))
        self.text_ids.append(np.asarray([self.texts.setdefault(text, len(self.texts)) for text in words], np.int64))
        self.groups.append(self._group_numbers.setdefault(_meaning(source, row, words[0]), len(self._group_numbers)))
        return picture


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
        values = {name: row[name] for name in columns_of(template)}
        if all(value is not None and str(value).strip() for value in values.values()):
            rendered.append(" ".join(template.format(**values).split()))
    return rendered


def _rows_of(source: PairSource) -> Iterator[list[dict[str, Any]]]:
    names = [source.column, *source.group, *(name for template in source.text for name in columns_of(template))]
    try:
        with pq.ParquetFile(source.path) as file:
            missing = [name for name in dict.fromkeys(names) if name not in file.schema_arrow.names]
            if missing:
                raise TrainingError(
                    f"{source.path}: no column {missing[0]!r}; it has {', '.join(file.schema_arrow.names)}"
                )
            for batch in file.iter_batches(READ_ROWS, columns=list(dict.fromkeys(names))):
                yield batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise TrainingError(f"{source.path}: not readable as Parquet ({' '.join(str(error).split())[:160]})") from error
