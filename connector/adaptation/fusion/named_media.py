"""Media that a catalogue names by path: what changes when one of them is replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from connector.ingest.batch import cell
from connector.ingest.catalogue import Catalogue
from connector.ingest.files import is_local, resolve

ROWS = 4096
HEAD = 64


def media_fingerprint(catalogue: Catalogue, columns: Sequence[str], media_root: str | None) -> str | None:
    """sha256 over size and time of every local file that the columns name, in their order; None where they name none.

    Columns that hold the files' bytes are not read beyond their first rows: a change of those is one of the catalogue.
    Of URLs and of catalogues elsewhere nothing is known.

    Args:
        media_root: as `MediaSource` takes it.
    """
    folders = _folders(catalogue, media_root)
    naming = [name for name in columns if _names_files(catalogue, name)]
    if not naming or not folders:
        return None
    digest = hashlib.sha256()
    for batch in catalogue.batches(naming, ROWS):
        for name in naming:
            for path in _paths(batch.columns.get(name)):
                digest.update(f"{path}\0{_marks(folders, path)}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _folders(catalogue: Catalogue, media_root: str | None) -> list[Path]:
    """Local folders that paths start from, in the order in which they are tried."""
    found: list[Path] = []
    if media_root is not None and not media_root.startswith(("http://", "https://")):
        filesystem, folder = resolve(media_root)
        if is_local(filesystem):
            found.append(Path(folder))
    if catalogue.location is not None and catalogue.location.local:
        found.append(Path(catalogue.location.folder))
    return found


def _names_files(catalogue: Catalogue, column: str) -> bool:
    head = next(catalogue.batches([column], HEAD), None)
    if head is None or column not in head.columns:
        return False
    cells = head.columns[column]
    if pt.is_struct(cells.type):
        # As Hugging Face datasets write it: either the bytes are there, or a path.
        return any(_path(cell(cells, row)) for row in range(len(cells)))
    return bool(pt.is_string(cells.type) or pt.is_large_string(cells.type))


def _paths(cells: pa.Array | None) -> Iterator[str]:
    for row in range(0 if cells is None else len(cells)):
        if path := _path(cell(cells, row)):
            yield path


def _path(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("path") if value.get("bytes") is None else None
    return value.strip() if isinstance(value, str) else ""


def _marks(folders: Sequence[Path], path: str) -> str:
    protocol, _, rest = path.rpartition("://")
    if protocol.lower() not in {"", "file", "local"}:
        return ""
    for folder in folders:
        try:
            state = (folder / rest).stat()
        except (OSError, ValueError):
            continue
        return f"{state.st_size} {state.st_mtime_ns}"
    return ""
