"""A catalogue: where rows come from, whatever holds them, under the connector's column names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from connector.errors import CatalogueError
from connector.ingest.batch import Batch
from connector.ingest.csv_format import CsvReader
from connector.ingest.files import CatalogueFile, Location, find_files
from connector.ingest.formats import ArrowReader, ParquetReader, Reader
from connector.ingest.json_lines import JsonLinesReader
from connector.ingest.tables import table_reader


@dataclass(frozen=True)
class Catalogue:
    """Readers one after the other, and the renaming of their columns.

    Attributes:
        name: for messages.
        columns: as the connector names them: the catalogue's own names and those that `mapping` adds.
        total_rows: where every reader knows.
        location: folder that relative media paths start from; None for a catalogue in memory.
        files: those it is read from; none for a catalogue in memory.
    """

    name: str
    columns: tuple[str, ...]
    total_rows: int | None
    location: Location | None
    files: Sequence[CatalogueFile] = ()
    _readers: Sequence[Reader] = field(repr=False, default=())
    _mapping: Mapping[str, str] = field(repr=False, default_factory=dict)

    def batches(
        self, columns: Sequence[str], batch_rows: int, *, first: int = 0, stop: int | None = None
    ) -> Iterator[Batch]:
        """Batches of at most `batch_rows` rows.

        Args:
            columns: connector names; those that the catalogue lacks are left out.
            first: rows before this one are left out. Where it ended a batch once, the batches after it are the same
                again; Parquet is not read as far as its row groups allow.
            stop: rows from this one on are left out.

        Raises:
            CatalogueError: a file breaks off or is corrupt.
        """
        sources = {name: self._mapping.get(name, name) for name in columns if name in self.columns}
        needed = tuple(dict.fromkeys(sources.values()))
        start = 0
        for reader in self._readers:
            if stop is not None and start >= stop:
                return
            if reader.rows is not None and start + reader.rows <= first:
                start += reader.rows
                continue
            end = 0
            for batch in reader.batches(needed, batch_rows, max(first - start, 0)):
                end = max(end, batch.end)
                cells = {name: batch.columns[old] for name, old in sources.items() if old in batch.columns}
                broken = {p + start: reason for p, reason in batch.broken.items()}
                moved = Batch(batch.rows + start, cells, broken).between(first, stop)
                if moved is not None:
                    yield moved
                del batch, cells, moved
                if stop is not None and start + end >= stop:
                    return
            start += end

    def require(self, column: str, what: str, remedy: str) -> None:
        """Raise `CatalogueError` unless there is such a column."""
        if column not in self.columns:
            raise CatalogueError(f"{self.name}: no column {column!r} for {what}; {remedy}{hint(column, self.columns)}")


def open_catalogue(
    source: Any,
    *,
    mapping: Mapping[str, str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Catalogue:
    """Open a catalogue; headers of all its files are read, rows are not.

    Args:
        source: path, glob, folder or fsspec URL of Parquet, Arrow/Feather, CSV, TSV or JSON lines; or an Arrow table,
            record batch reader, dataset, pandas data frame or list of dicts.
        mapping: connector's column name → catalogue's column name.
        storage_options: for fsspec, e.g. {"anon": True}.

    Raises:
        CatalogueError: nothing there, a format that cannot be read, a broken file, or a mapped column that is absent.
    """
    location: Location | None = None
    files: tuple[CatalogueFile, ...] = ()
    if isinstance(source, (str, Path)):
        name = str(source)
        found, location = find_files(source, storage_options)
        files = tuple(found)
        readers: list[Reader] = [_file_reader(file) for file in files]
    else:
        name = f"the given {type(source).__name__}"
        readers = [table_reader(source)]
    own = tuple(dict.fromkeys(column for reader in readers for column in reader.columns))
    mapping = dict(mapping or {})
    for new, old in mapping.items():
        if old not in own:
            raise CatalogueError(f"{name}: no column {old!r} to use as {new!r}; check the mapping{hint(old, own)}")
    _refuse_doubled(name, readers)
    counts = [reader.rows for reader in readers]
    return Catalogue(
        name=name,
        columns=tuple(dict.fromkeys((*own, *mapping))),
        total_rows=None if None in counts else sum(count or 0 for count in counts),
        location=location,
        files=files,
        _readers=readers,
        _mapping=mapping,
    )


def hint(name: str, names: Sequence[str]) -> str:
    """The end of a message about an absent column: the nearest name, or all of them."""
    close = get_close_matches(name, names, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f" (its columns: {listed or 'none'})"


def _file_reader(file: CatalogueFile) -> Reader:
    if file.format == "parquet":
        return ParquetReader(file)
    if file.format == "arrow":
        return ArrowReader(file)
    if file.format == "jsonl":
        return JsonLinesReader(file)
    return CsvReader(file, "\t" if file.format == "tsv" else ",")


def _refuse_doubled(name: str, readers: Sequence[Reader]) -> None:
    for reader in readers:
        doubled = sorted({column for column in reader.columns if reader.columns.count(column) > 1})
        if doubled:
            raise CatalogueError(f"{name}: column {doubled[0]!r} appears twice; rename one of them")
