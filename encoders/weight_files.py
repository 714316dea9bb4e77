"""The weights of a model folder: safetensors only, and their hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

from encoders.errors import EncoderLoadError
from encoders.files import sha256_of_file

PICKLED_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder (its subfolders' too), sorted by relative path.

    Raises:
        EncoderLoadError: none there; says so when there are pickled weights instead.
    """
    found = sorted(folder.rglob("*.safetensors"), key=lambda path: path.relative_to(folder).as_posix())
    if found:
        return found
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED_SUFFIXES)
    if pickled:
        raise EncoderLoadError(
            f"{folder}: holds pickled weights ({pickled[0]}), which are never loaded; "
            "convert them with save_pretrained(..., safe_serialization=True) and try again"
        )
    raise EncoderLoadError(f"{folder}: holds no model.safetensors; give a folder saved by save_pretrained()")


def weights_hash(folder: Path) -> str:
    """sha256 of the weights: of the file itself when there is one, else of the list of `name sha256` lines."""
    files = weight_files(folder)
    if len(files) == 1:
        return sha256_of_file(files[0])
    lines = [f"{path.relative_to(folder).as_posix()} {sha256_of_file(path)}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
