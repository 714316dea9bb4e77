"""A few raw inputs of a catalogue's column, for measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connector.config import IngestSettings
from connector.errors import CatalogueError


def read_sample(source: str | Path, column: str, *, text: bool, rows: int = 200) -> list[Any]:
    """The first inputs of a column that can be read: texts as `str`, media as `bytes`; nulls are passed over.

    Args:
        source: as `open_catalogue` takes it.
        text: whether the column holds texts; else bytes, or paths within the catalogue's folder.
        rows: most inputs.

    Raises:
        CatalogueError: nothing there, no such column, or no input in it that can be read.
    """
    from connector.ingest.catalogue import open_catalogue
    from connector.ingest.media import MediaSource
    from connector.ingest.remote import MediaError

    catalogue = open_catalogue(source)
    catalogue.require(column, "the sample", "name one that it has")
    media = MediaSource(catalogue.location, max_bytes=IngestSettings().max_media_bytes)
    found: list[Any] = []
    try:
        for batch in catalogue.batches([column], rows):
            # Parts of one catalogue may lack a column that others have.
            held = batch.columns[column].to_pylist() if column in batch.columns else []
            cells = [cell for cell in held if cell is not None]
            if text:
                found += [str(cell) for cell in cells]
            else:
                found += [content for content in media.fetch_all(cells) if not isinstance(content, MediaError)]
            if len(found) >= rows:
                break
    finally:
        media.close()
    if not found:
        raise CatalogueError(f"{source}: column {column!r} holds nothing that can be read; name another")
    return found[:rows]
