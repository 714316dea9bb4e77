"""Histories of a job: read, split in time, and cut into windows."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from connector.adaptation.sampler import MixedBatches
from connector.adaptation.sequences.spec import CatalogueSource, HistorySpec
from connector.errors import CatalogueError, TrainingError
from connector.evaluation.interactions import History, ids_of, read_interactions
from connector.evaluation.splits import Split, time_split


@dataclass(frozen=True)
class Histories:
    """What a job learns from.

    Attributes:
        items: ids by number, from 0 on.
        learned: item numbers of each user, oldest first; neither validated nor tested on.
        validation, test: None where nothing is held out for a test.
        skipped: reason → interactions left out.
    """

    items: list[str]
    learned: list[History]
    validation: Split
    test: Split | None
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def interactions(self) -> int:
        """That are learned from."""
        return sum(len(history) for history in self.learned)


def read_histories(spec: HistorySpec) -> Histories:
    """Read and split.

    Raises:
        CatalogueError: a file that cannot be read, or no interaction in it that can be used.
        TrainingError: histories or items too few to learn from.
    """
    return histories_of(spec, None if spec.catalogue is None else read_ids(spec.catalogue))


def histories_of(spec: HistorySpec, catalogue: list[str] | None) -> Histories:
    """Read and split, with the ids of all items there are; `read_histories` where the spec names their file.

    Raises:
        CatalogueError, TrainingError: as `read_histories`.
    """
    found = read_interactions(spec.interactions, catalogue)
    test = time_split(found.histories, len(found.items), spec.test) if spec.test else None
    try:
        validation = time_split(test.train if test else found.histories, len(found.items), spec.validation)
    except CatalogueError as error:
        raise TrainingError(f"{spec.interactions.path}: {error}") from error
    learned = validation.train
    distinct = {int(item) for history in learned for item in history}
    if len(distinct) < 2 or max(map(len, learned)) < 2:
        raise TrainingError(
            f"{spec.interactions.path}: {len(distinct)} distinct items in histories of at most "
            f"{max(map(len, learned))} leave no next item to learn; at least 2 of each are needed"
        )
    return Histories(found.items, learned, validation, test, found.skipped)


def read_ids(source: CatalogueSource) -> list[str]:
    """Item ids of a catalogue.

    Raises:
        CatalogueError: no such file or column, or the same id twice.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        column = ids_of(pq.read_table(source.path, columns=[source.key]).column(0))
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError, IndexError) as error:
        raise CatalogueError(f"{source.path}: has no readable column {source.key!r} of item ids") from error
    ids = [item for item in column.to_pylist() if item is not None]
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise CatalogueError(f"{source.path}: item {twice!r} is there more than once; keep one row of it")
    return ids


class Windows:
    """Batches of windows over histories: a function of seed and number alone.

    A user's turn comes as often in a lap as his history fills windows; where a window ends is drawn anew each time.

    Args:
        longest: steps of a window, ≥ 2.
        batch_size: windows in a batch.
    """

    def __init__(self, histories: list[History], longest: int, batch_size: int, seed: int) -> None:
        self._histories, self._longest, self._seed = histories, longest, seed
        turns = [math.ceil(len(history) / longest) if len(history) > 1 else 0 for history in histories]
        self._turns = np.repeat(np.arange(len(histories)), turns)
        self._batches = MixedBatches([np.arange(len(self._turns))], [None], batch_size, seed)

    @property
    def lap(self) -> float:
        """Batches after which every one of them has come once."""
        return self._batches.lap

    def batch(self, number: int) -> NDArray[np.int64]:
        """Item numbers + 1 of batch `number`, padded with 0 on the left → int64 [batch, longest]."""
        rng = np.random.default_rng([self._seed, 0x3AC, number])
        turns = self._batches.rows_of(number)
        windows = np.zeros((len(turns), self._longest), np.int64)
        for row, user in enumerate(self._turns[turns]):
            history = self._histories[user]
            end = int(rng.integers(min(len(history), self._longest), len(history) + 1))
            window = history[max(0, end - self._longest) : end] + 1
            windows[row, self._longest - len(window) :] = window
        return windows


def padded(histories: list[History], longest: int) -> NDArray[np.int64]:
    """The newest `longest` items of each, numbers + 1, padded with 0 on the left → int64 [n, longest]."""
    rows = np.zeros((len(histories), longest), np.int64)
    for row, history in zip(rows, histories, strict=True):
        recent = history[-longest:] + 1
        row[longest - len(recent) :] = recent
    return rows
