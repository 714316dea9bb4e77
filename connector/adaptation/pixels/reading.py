"""Pictures out of catalogues, decoded once; those that cannot be used are counted. And what a job over them reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connector.adaptation.media_rows import Decode, MediaRows, UsableRows, open_media
from connector.adaptation.pictures import PictureFile, write_pictures
from connector.adaptation.pixels.spec import PicturesSpec
from connector.adaptation.report import TrainingReport, figure_rows
from connector.errors import TrainingError


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
    spec: PicturesSpec, decode: Decode, shape: tuple[int, ...], on_rows: Callable[[int], None]
) -> tuple[PictureFile, Counter[str], str]:
    """All pictures of a spec, kept in `spec.out/cache`; reason → how many were left out; a digest of which were not.

    Args:
        decode: file bytes → uint8 of `shape`; raises ValueError for what cannot be used.

    Raises:
        TrainingError: a catalogue or column that is not there or cannot be read, or fewer than four usable pictures.
    """
    skipped: Counter[str] = Counter()
    usable = UsableRows()
    cache = Path(spec.out) / "cache"

    def batches(opened: list[MediaRows]) -> Iterator[NDArray[Any]]:
        for index, media in enumerate(opened):
            for number, batch in enumerate(media.batches()):
                good: dict[int, NDArray[Any]] = {}
                skipped.update(f"row: {reason}"[:160] for reason in batch.broken.values())
                for row, picture in media.decoded(batch, range(len(batch)), decode):
                    if isinstance(picture, str):
                        skipped[picture[:160]] += 1
                    else:
                        good[row] = picture
                usable.add(index, number, list(good))
                on_rows(len(batch) + len(batch.broken))
                if good:
                    yield np.stack(list(good.values()))

    with ExitStack() as stack:
        opened = [stack.enter_context(open_media(source, source.image, cache=cache)) for source in spec.pictures]
        cache.mkdir(parents=True, exist_ok=True)
        write_pictures(cache / "pictures.arrow", batches(opened), shape)
    found = PictureFile(cache / "pictures.arrow", shape)
    if len(found) < 4:
        reasons = "; ".join(f"{reason} ({rows} rows)" for reason, rows in skipped.most_common(3))
        raise TrainingError(f"{len(found)} usable pictures are too few to learn from: {reasons or 'no more rows'}")
    return found, skipped, usable.digest


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
