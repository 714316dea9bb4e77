"""Rows of a catalogue and their media, read as `ingest` reads them: bytes in the cells, paths or URLs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connector.adaptation.media_spec import MediaCatalogue
from connector.errors import CatalogueError, TrainingError
from connector.ingest.batch import Batch, Problem, cell
from connector.ingest.catalogue import Catalogue, open_catalogue
from connector.ingest.files import SUFFIXES
from connector.ingest.media import MediaSource
from connector.ingest.parts import PartReader
from encoders.errors import EncoderLoadError

READ_ROWS = 256

Decode = Callable[[Any], NDArray[Any]]
# What a checkpoint calls the digest of `UsableRows`.
USABLE = "the list of usable rows"


class UsableRows:
    """Remembers which rows of a job's catalogues could be used, so that a resumed job is known to see the same ones."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, source: int, batch: int, rows: Sequence[int]) -> None:
        """Rows by their positions in a batch of a source."""
        self._hash.update(f"{source} {batch} {list(rows)};".encode())

    @property
    def digest(self) -> str:
        """Of all rows so far, hexadecimal."""
        return self._hash.hexdigest()


class MediaRows:
    """Reads one catalogue, at most `READ_ROWS` rows at a time, and fewer where cells are big.

    Args:
        catalogue: of `source`.
        column: of the media.
        beside: further columns that are needed.
        more: columns of further media.
    """

    def __init__(
        self,
        source: MediaCatalogue,
        catalogue: Catalogue,
        column: str,
        beside: Sequence[str] = (),
        more: Sequence[str] = (),
    ) -> None:
        self._source, self._catalogue, self._column = source, catalogue, column
        self._beside = tuple(dict.fromkeys(beside))
        self._needed = tuple(dict.fromkeys((column, *beside, *more)))
        self._media = MediaSource(
            catalogue.location,
            media_root=source.media_root,
            allow_remote=source.allow_remote_media,
            max_bytes=source.max_media_bytes,
        )
        self._parts = PartReader("", self._media, max_text_bytes=0)

    def batches(self) -> Iterator[Batch]:
        """All rows.

        Raises:
            TrainingError: a file breaks off or is corrupt.
        """
        with _as_training_errors(self._source.path):
            yield from self._catalogue.batches(self._needed, READ_ROWS)

    def cells(self, batch: Batch) -> list[dict[str, Any]]:
        """Of each row the cells beside its media; None where its file has no such column."""
        columns = {name: batch.columns.get(name) for name in self._beside}
        return [
            {name: None if column is None else cell(column, row) for name, column in columns.items()}
            for row in range(len(batch))
        ]

    def decoded(self, batch: Batch, rows: Sequence[int], decode: Decode) -> Iterator[tuple[int, NDArray[Any] | str]]:
        """Of each of `rows` (positions in the batch, ascending) its media, or the reason why there are none.

        Args:
            decode: file bytes → array; raises ValueError for what cannot be used.
        """
        for row, content in self.files(batch, rows, self._column):
            yield row, content if isinstance(content, str) else _decoded(content, decode)

    def files(self, batch: Batch, rows: Sequence[int], column: str) -> Iterator[tuple[int, bytes | str]]:
        """Of each of `rows` (positions in the batch, ascending) its file in a column of media, or why there is none."""
        # What is no text is read alike.
        files = self._parts.read("media", (column,), batch.columns, np.asarray(rows, np.int64))
        place, content = next(files, (-1, None))
        for row in rows:
            if row != place:
                yield row, "nothing there"
                continue
            yield row, content if isinstance(content, bytes) else _reason(content)
            place, content = next(files, (-1, None))

    def close(self) -> None:
        """Stop fetching."""
        self._media.close()


@contextmanager
def open_media(
    source: MediaCatalogue,
    column: str,
    beside: Sequence[str] = (),
    more: Sequence[str] = (),
    *,
    cache: Path | None = None,
) -> Iterator[MediaRows]:
    """Open a catalogue; headers of all its files are read, rows are not.

    Args:
        column: of the media.
        beside: further columns that are needed.
        more: columns of further media.
        cache: where decoded rows will be written.

    Raises:
        TrainingError: nothing there, nothing that can be read, a column that no file has, or `cache` inside it.
    """
    if cache is not None and cache.resolve().is_relative_to(Path(source.path).resolve()):
        raise TrainingError(
            f"{cache}: lies in the catalogue's own folder, {source.path}, and would be read as a part of it; name "
            "another out folder"
        )
    with _as_training_errors(source.path):
        catalogue = open_catalogue(source.path)
        for name in (column, *beside, *more):
            if name not in catalogue.columns:
                raise TrainingError(f"{source.path}: no column {name!r}; it has {', '.join(catalogue.columns)}")
        rows = MediaRows(source, catalogue, column, beside, more)
    with closing(rows):
        yield rows


@contextmanager
def _as_training_errors(path: str) -> Iterator[None]:
    try:
        yield
    except CatalogueError as error:
        # Without any file in it, a folder is to `ingest` as if it were not there.
        if Path(path).is_dir() and str(error).startswith(f"{path}: no such"):
            raise TrainingError(
                f"{path}: no catalogue file in this folder; give one of {', '.join(SUFFIXES)}"
            ) from error
        raise TrainingError(str(error)) from error


def _reason(problem: Any) -> str:
    reason = problem.reason if isinstance(problem, Problem) else f"{type(problem).__name__} is no file"
    # What `ingest` is told in its settings is a field of the source here.
    return reason.replace("ingest.max_media_bytes", "max_media_bytes")


def _decoded(content: bytes, decode: Decode) -> NDArray[Any] | str:
    try:
        return decode(content)
    except EncoderLoadError:
        # Decoding itself does not work here: nothing that the file is to blame for.
        raise
    except ValueError as error:
        return str(error)
