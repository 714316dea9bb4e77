"""Pictures out of Parquet, decoded once; those that cannot be used are counted. And what a job over them reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from connector.adaptation.pictures import PictureFile, write_pictures
from connector.adaptation.pixels.spec import PicturesSpec
from connector.adaptation.report import TrainingReport, figure_rows
from connector.errors import TrainingError

READ_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class PictureReport(TrainingReport):
    """What a job did.

    Attributes:
        pictures, held_out: trained and validated on.
    """

    pictures: int
    held_out: int

    @property
    def learned_from(self) -> str:
        return f"{self.pictures} pictures"


def read_pictures(
    spec: PicturesSpec, decode: Callable[[Any], NDArray[Any]], shape: tuple[int, ...], on_rows: Callable[[int], None]
) -> tuple[PictureFile, Counter[str]]:
    """All pictures of a spec, kept in `spec.out/cache`, and reason → how many were left out.

    Args:
        decode: file bytes → uint8 of `shape`; raises ValueError for what cannot be used.

    Raises:
        TrainingError: a file or column that is not there, or fewer than four usable pictures.
    """
    skipped: Counter[str] = Counter()
    cache = Path(spec.out) / "cache"
    cache.mkdir(parents=True, exist_ok=True)

    def batches() -> Iterator[NDArray[Any]]:
        for source in spec.pictures:
            for files in _files(source.path, source.image):
                good = []
                for content in files:
                    try:
                        good.append(decode(content))
                    except ValueError as error:
                        skipped[str(error)[:160]] += 1
                on_rows(len(files))
                if good:
                    yield np.stack(good)

    write_pictures(cache / "pictures.arrow", batches(), shape)
    found = PictureFile(cache / "pictures.arrow", shape)
    if len(found) < 4:
        reasons = "; ".join(f"{reason} ({rows} rows)" for reason, rows in skipped.most_common(3))
        raise TrainingError(f"{len(found)} usable pictures are too few to learn from: {reasons or 'no more rows'}")
    return found, skipped


def write_card(spec: PicturesSpec, report: PictureReport, title: str, what: str) -> str:
    """Markdown; names files without their folders."""
    files = ", ".join(f"`{Path(source.path).name}`" for source in spec.pictures)
    return f"""# {title}

{what} Load it with `encoders.load(folder)`.

## Trained on

{files}: {report.pictures} pictures, {report.held_out} more held out. {report.steps} steps of {spec.batch_size}, AdamW \
at {spec.learning_rate:g}, seed {spec.seed}; the state of step {report.best_step} was kept.{report.resumed}

## How well it does

On the pictures held out, on which the kept state was chosen.

| figure | value |
|---|---|
{figure_rows(report.metrics)}
"""


def _files(path: str, column: str) -> Iterator[list[Any]]:
    if not Path(path).is_file():
        raise TrainingError(f"{path}: no such file")
    try:
        with pq.ParquetFile(path) as file:
            if column not in file.schema_arrow.names:
                raise TrainingError(f"{path}: no column {column!r}; it has {', '.join(file.schema_arrow.names)}")
            for batch in file.iter_batches(READ_ROWS, columns=[column]):
                yield batch.column(0).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise TrainingError(f"{path}: cannot be read as Parquet ({type(error).__name__})") from error
