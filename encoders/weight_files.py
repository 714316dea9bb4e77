"""The weights of a model folder: safetensors only, and their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from encoders.errors import EncoderLoadError
from encoders.files import read_json, sha256_of_file

RECORD = "tower.json"
WEIGHTS_HASH = "weights_hash"
PICKLED_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder (its subfolders' too), sorted by relative path.

    Raises:
        EncoderLoadError: none there; says so when there are pickled weights instead.
    """
    found = sorted(folder.rglob("*.safetensors"), key=lambda path: path.relative_to(folder).as_posix())
    if found:
        return found
    names = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED_SUFFIXES)
    if names:
        raise pickled(folder, names)
    raise EncoderLoadError(f"{folder}: holds no model.safetensors; give a folder saved by save_pretrained()")


def pickled(source: str | Path, names: Sequence[str]) -> EncoderLoadError:
    """The refusal of a folder or Hugging Face id whose weights are the pickled files `names`, at least one."""
    return EncoderLoadError(
        f"{source}: holds pickled weights ({names[0]}), which are never loaded; "
        "convert them with save_pretrained(..., safe_serialization=True) and try again"
    )


def weights_hash(folder: Path) -> str:
    """sha256 of the weights: of the file itself when there is one, else of the list of `name sha256` lines."""
    files = weight_files(folder)
    if len(files) == 1:
        return sha256_of_file(files[0])
    lines = [f"{path.relative_to(folder).as_posix()} {sha256_of_file(path)}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def model_hash(folder: Path) -> str:
    """sha256 of all that a model folder's graph is made of: its weights, and every JSON file beside them."""
    records = sorted(folder.rglob("*.json"), key=lambda path: path.relative_to(folder).as_posix())
    lines = [weights_hash(folder)]
    lines += [f"{path.relative_to(folder).as_posix()} {sha256_of_file(path)}" for path in records]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def require_weights(folder: Path) -> None:
    """Check that the weights of a tower folder are those its record was written with.

    Raises:
        EncoderLoadError: none there, pickled ones, no record, or weights that were changed.
    """
    _require(folder, read_json(folder / RECORD).get(WEIGHTS_HASH))


def require_stated_weights(folder: Path) -> None:
    """As `require_weights`, where the record states a hash; one written by hand beside foreign weights need not.

    Without it nothing is served under a wrong contract either: that takes its hash from the weights that are there.

    Raises:
        EncoderLoadError: weights that were changed, or are gone.
    """
    if (folder / RECORD).is_file() and (stated := read_json(folder / RECORD).get(WEIGHTS_HASH)) is not None:
        _require(folder, stated)


def _require(folder: Path, stated: object) -> None:
    found = weights_hash(folder)
    if stated != found:
        raise EncoderLoadError(
            f"{folder}: the weights are not those of {RECORD} (sha256 {found[:16]}…, stated {str(stated)[:16]}…); "
            "copy the folder again, whole"
        )
