"""A folder, here or behind an fsspec URL, whose files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from connector.errors import StoreError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DurableFolder:
    """Files by name. On this machine a file is written under a hidden name, synced and renamed; elsewhere it is sent
    in one piece.

    Args:
        url: local path, or any fsspec URL; made when first written to.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        import fsspec

        self.url = str(url)
        self.filesystem, root = fsspec.core.url_to_fs(self.url)
        self.root = str(root).rstrip("/")
        self.local = "file" in (
            (self.filesystem.protocol,) if isinstance(self.filesystem.protocol, str) else self.filesystem.protocol
        )

    def path(self, name: str) -> str:
        """Path of a file in its file system."""
        return f"{self.root}/{name}"

    def write(self, name: str, fill: Callable[[BinaryIO], Any]) -> str:
        """Write a file, replacing an earlier one of that name → its path.

        Raises:
            StoreError: it cannot be written; the earlier one, if any, is as it was.
        """
        path = self.path(name)
        try:
            if self.local:
                _write_here(Path(path), fill)
            else:
                self._send(path, fill)
        except OSError as error:
            remedy = "; make room, then run it again" if error.errno in _NO_ROOM else ""
            raise StoreError(f"{path} cannot be written: {error.strerror or error}{remedy}") from error
        return path

    def read(self, name: str) -> bytes | None:
        """Content of a file, or None where there is none."""
        try:
            data: bytes = self.filesystem.cat_file(self.path(name))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.path(name)} cannot be read: {error.strerror or error}") from error
        return data

    def remove(self, name: str) -> None:
        """Remove a file; an absent one is a no-op."""
        with suppress(FileNotFoundError):
            self.filesystem.rm_file(self.path(name))

    def clean(self) -> int:
        """Remove what processes that died while writing left behind → files removed. A live process keeps its own."""
        if not self.local:
            return 0
        import psutil

        removed = 0
        for file in Path(self.root).glob(".*.tmp"):
            owner = file.name.rsplit(".", 2)[-2]
            if not owner.isdecimal() or not psutil.pid_exists(int(owner)):
                file.unlink(missing_ok=True)
                removed += 1
        return removed

    def move(self, name: str, to: str) -> None:
        """Rename a file, replacing another."""
        if self.local:
            Path(self.path(name)).replace(self.path(to))
            sync_folder(Path(self.root))
        else:
            self.filesystem.mv(self.path(name), self.path(to))

    def names(self) -> list[str]:
        """Names of the files and folders in it, sorted."""
        self.filesystem.invalidate_cache(self.root)
        try:
            found = self.filesystem.ls(self.root, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)

    def clear(self) -> None:
        """Remove the folder with all that is in it."""
        if self.local:
            shutil.rmtree(self.root, ignore_errors=True)
            return
        with suppress(FileNotFoundError):
            self.filesystem.rm(self.root, recursive=True)

    def _send(self, path: str, fill: Callable[[BinaryIO], Any]) -> None:
        with tempfile.NamedTemporaryFile() as file:
            fill(file)  # type: ignore[arg-type]  # a wrapper around a binary file
            file.flush()
            self.filesystem.makedirs(self.root, exist_ok=True)
            self.filesystem.put_file(file.name, path)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder outlive a loss of power."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_here(final: Path, fill: Callable[[BinaryIO], Any]) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f".{final.name.lstrip('.')}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(final.parent)
