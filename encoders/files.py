"""Writing files so that a reader sees all of one or nothing of it, and hashing what lies on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from encoders.errors import EncoderLoadError

DAY = 24 * 3600


def canonical_json(record: Any) -> str:
    """JSON with sorted keys and no spaces: the form that hashes are taken of."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def sha256_of_json(record: Any) -> str:
    """sha256 of `canonical_json`, hexadecimal."""
    return hashlib.sha256(canonical_json(record).encode()).hexdigest()


def sha256_of_file(path: Path) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(stream)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        EncoderLoadError: missing, not JSON, or not an object.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EncoderLoadError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise EncoderLoadError(f"{path}: is not JSON ({error})") from error
    if not isinstance(record, dict):
        raise EncoderLoadError(f"{path}: holds a {type(record).__name__} where a JSON object is expected")
    return record


def write_json(path: Path, record: Any) -> None:
    """Write indented JSON with sorted keys, atomically."""
    write_bytes(path, (json.dumps(record, sort_keys=True, indent=2) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, fsync it and rename it into place."""
    with new_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """The name of a file to fill that becomes `path` only when the block ends without an error."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(target: Path, *, keep: bool = False) -> Iterator[Path]:
    """A folder to fill that becomes `target` only when the block ends without an error.

    Args:
        keep: leave a `target` that someone else made meanwhile as it is, instead of replacing it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.*"):
        # What a killed process left; a day is longer than any export.
        if time.time() - left.stat().st_mtime > DAY:
            shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        filling = scratch / "new"
        filling.mkdir()
        yield filling
        for path in (p for p in filling.rglob("*") if p.is_file()):
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            # Libraries that write through temporary files leave them readable to their owner alone.
            path.chmod(0o644)
        if target.exists() and not keep:
            target.rename(scratch / "old")
        try:
            filling.rename(target)
        except OSError:
            if not (keep and target.exists()):
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _digest(stream: Any) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
