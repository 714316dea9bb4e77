"""What makes a resumed job the same job: its spec, and what the files it names hold, wherever they lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from connector.adaptation.run_spec import CHANGEABLE, RunSpec
from connector.errors import CatalogueError
from connector.ingest.files import SUFFIXES, find_files
from encoders.source import DEFAULTS

# Fields of specs that name a file or a folder; the later ones may name a default or a Hugging Face id instead.
_FILES = ("path", "ids", "initial")
_ENCODERS = ("source", "encoder", "text_encoder", "towards_encoder")
_MEDIA_ROOT = "media_root"
# Of a file, its two ends are looked at: a Parquet file's footer, or weights, of which training changes all.
_END = 1 << 20
# Of media that lie in a catalogue's folder there may be very many.
_READ = (*SUFFIXES, ".gz", ".json", ".safetensors", ".onnx", ".txt", ".model")


def identity_of(spec: RunSpec) -> tuple[str, dict[str, str]]:
    """What a resumed job must share with the one it goes on from.

    Args:
        spec: its paths as they can be opened here.

    Returns:
        A hash over all but `out`, the `CHANGEABLE` fields and the names of local files; and for each field that names a
        local file, folder or glob (`pairs.0.path`) a hash of its size and both its ends; of a folder, of all
        catalogues, weights and records in it, and the names and sizes of other files. What lies behind a URL is not
        looked at.
    """
    values = spec.model_dump(mode="json", exclude={"out", *CHANGEABLE})
    inputs: dict[str, str] = {}
    for where, holder, name, path in list(_local(values, "")):
        if name != _MEDIA_ROOT:
            inputs[where] = _digest(path)
        holder[name] = ""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest(), inputs


def _local(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any], str, Path]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _local(item, f"{where}{index}.")
    elif isinstance(value, dict):
        for name, item in value.items():
            named = name in (*_FILES, _MEDIA_ROOT) or (name in _ENCODERS and item not in DEFAULTS)
            if named and isinstance(item, str) and (_exists(Path(item)) or (name == "path" and _glob(Path(item))[1])):
                yield f"{where}{name}", value, name, Path(item)
            else:
                yield from _local(item, f"{where}{name}.")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _glob(pattern: Path) -> tuple[Path, list[Path]]:
    """The folder that a glob looks in, and the catalogue's files that it finds; none, where it is no local glob."""
    if not any(letter in str(pattern) for letter in "*?["):
        return pattern, []
    try:
        files, location = find_files(str(pattern))
    except CatalogueError:
        return pattern, []
    return Path(location.folder), [Path(file.path) for file in files] if location.local else []


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    root, single = path, False
    if path.is_dir():
        files = [item for item in path.rglob("*") if item.is_file()]
    elif path.exists():
        files, single = [path], True
    else:
        root, files = _glob(path)
    for file in sorted(files):
        size = file.stat().st_size
        # A file's own name may change, those of the files in a folder say what they are.
        found.update(f"{file.relative_to(root)} {size}\n".encode())
        if not single and not file.name.lower().endswith(_READ):
            continue
        with file.open("rb") as content:
            found.update(content.read(_END))
            content.seek(max(_END, size - _END))
            found.update(content.read(_END))
    return found.hexdigest()
