"""Finding the files of a catalogue: one file, a glob, a folder, or any fsspec URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from connector.errors import CatalogueError

Format = Literal["parquet", "arrow", "csv", "tsv", "jsonl"]

SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz"}
_TEXT = ("csv", "tsv", "jsonl")
_MAGIC: tuple[tuple[bytes, Format], ...] = ((b"PAR1", "parquet"), (b"ARROW1", "arrow"))
_INSTALL = {
    "s3": "'multimodal-connector[s3]'",
    "gs": "'multimodal-connector[gcs]'",
    "gcs": "'multimodal-connector[gcs]'",
}


@dataclass(frozen=True)
class CatalogueFile:
    """One file: where it is and how to read it."""

    filesystem: Any
    path: str
    format: Format
    compression: str | None

    def open(self) -> Any:
        """A binary file object, decompressed.

        Raises:
            CatalogueError: it cannot be opened.
        """
        from fsspec.core import OpenFile

        try:
            return OpenFile(self.filesystem, self.path, "rb", compression=self.compression).open()
        except Exception as error:
            raise CatalogueError(f"{self.path}: cannot be opened: {cause(error)}") from error


@dataclass(frozen=True)
class Location:
    """The folder that a catalogue's relative media paths start from.

    Attributes:
        filesystem: fsspec file system; `local` tells whether it is this machine's.
        folder: path in it.
    """

    filesystem: Any
    folder: str
    local: bool


def is_local(filesystem: Any) -> bool:
    """Whether an fsspec file system is this machine's disk."""
    protocol = filesystem.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else tuple(protocol))


def resolve(url: str | Path, storage_options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """fsspec file system and path of a URL or a local path.

    Raises:
        CatalogueError: unknown protocol, or its package is not installed.
    """
    from fsspec.core import url_to_fs

    text = str(url.expanduser() if isinstance(url, Path) else url)
    protocol = text.split("://", 1)[0] if "://" in text else "file"
    if protocol == "file" and text.startswith("~"):
        text = str(Path(text).expanduser())
    try:
        filesystem, path = url_to_fs(text, **(storage_options or {}))
    except ImportError as error:
        package = _INSTALL.get(protocol, f"the fsspec package for {protocol}")
        raise CatalogueError(f"{text}: {protocol}:// needs another package: pip install {package}") from error
    except Exception as error:
        raise CatalogueError(f"{text}: not a path or URL that can be read: {cause(error)}") from error
    return filesystem, str(path)


def find_files(
    source: str | Path, storage_options: Mapping[str, Any] | None = None
) -> tuple[list[CatalogueFile], Location]:
    """Files of a catalogue, sorted by path, and the folder its media paths start from.

    Raises:
        CatalogueError: nothing there, or nothing of a format that can be read.
    """
    filesystem, path = resolve(source, storage_options)
    try:
        paths, folder = _paths(filesystem, path)
    except Exception as error:
        raise CatalogueError(f"{source}: cannot be read: {cause(error)}") from error
    if not paths:
        raise CatalogueError(f"{source}: no such file, folder or glob; check the path")
    single = len(paths) == 1 and folder != path
    files = [file for p in paths if (file := _describe(filesystem, p, sniff=single)) is not None]
    if not files:
        what = "unknown format" if single else "no catalogue file in it"
        raise CatalogueError(f"{source}: {what}; give one of {', '.join(SUFFIXES)} (text ones also as .gz)")
    return files, Location(filesystem, folder, is_local(filesystem))


def _paths(filesystem: Any, path: str) -> tuple[list[str], str]:
    if filesystem.isfile(path):
        return [path], str(PurePosixPath(path).parent)
    if filesystem.isdir(path):
        found = filesystem.find(path)
        root = path.rstrip("/")
        return sorted(p for p in found if not _hidden(str(p)[len(root) :])), root
    if any(c in path for c in "*?["):
        fixed = []
        for part in PurePosixPath(path).parts:
            if any(c in part for c in "*?["):
                break
            fixed.append(part)
        folder = str(PurePosixPath(*fixed)) if fixed else ""
        found = [p for p in filesystem.glob(path) if filesystem.isfile(p)]
        return sorted(p for p in found if not _hidden(str(p)[len(folder) :], (".",))), folder
    return [], path


def _hidden(relative: str, marks: tuple[str, ...] = (".", "_")) -> bool:
    return any(part.startswith(marks) for part in PurePosixPath(relative).parts if part != "/")


def _describe(filesystem: Any, path: str, *, sniff: bool) -> CatalogueFile | None:
    suffixes = [s.lower() for s in PurePosixPath(path).suffixes]
    compression = _COMPRESSED.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    found = SUFFIXES.get(suffixes[-1]) if suffixes else None
    if found is None and sniff and compression is None:
        head = CatalogueFile(filesystem, path, "parquet", None)
        with head.open() as file:
            start = file.read(8)
        found = next((name for magic, name in _MAGIC if start.startswith(magic)), None)
    if found is None or (compression and found not in _TEXT):
        return None
    return CatalogueFile(filesystem, path, found, compression)


def cause(error: BaseException) -> str:
    """A library's error on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
