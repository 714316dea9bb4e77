"""Where the jobs over raw media find their rows, and how far they may look for the files that rows name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from connector.adaptation.run_spec import Record

if TYPE_CHECKING:
    from typing_extensions import Self


class MediaCatalogue(Record):
    """A catalogue whose rows hold or name media: Parquet, or anything else that `ingest` reads.

    Attributes:
        path: a file, a folder or glob of parts, or an fsspec URL; relative paths count from the spec's folder.
        media_root: a further folder or URL that media paths may lie in; relative ones may start there too. Without it
            they start in the catalogue's folder, and must stay in it.
        allow_remote_media: whether media cells may be URLs elsewhere; hosts of http(s) must then be public ones.
        max_media_bytes: larger files are left out, and counted.
    """

    path: str
    media_root: str | None = None
    allow_remote_media: bool = False
    max_media_bytes: int = Field(32 * 1024 * 1024, ge=1)

    def located(self, base: Path) -> Self:
        """The same, its relative paths counted from `base`."""
        root = None if self.media_root is None else located_path(self.media_root, base)
        return self.model_copy(update={"path": located_path(self.path, base), "media_root": root})


def located_path(path: str, base: Path) -> str:
    """A path counted from `base`; a URL stays as it is."""
    return path if "://" in path else str(base / path)
