"""Writing a new repository: all of its files or none, and never over somebody's work."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connector.errors import ConfigurationError
from connector.scaffold.infer import infer_shape
from connector.scaffold.render import Endpoints, render
from connector.scaffold.shape import Shape, generic_shop, identifier


@dataclass(frozen=True)
class Written:
    """What `init_repository` made.

    Attributes:
        folder: the repository.
        files: names of the files written, sorted.
        shape: what they say.
    """

    folder: Path
    shape: Shape
    files: tuple[str, ...] = field(default=())


def init_repository(
    folder: str | Path,
    *,
    catalogue: Any = None,
    key: str | None = None,
    entity: str | None = None,
    project: str | None = None,
    endpoints: Endpoints | None = None,
    force: bool = False,
) -> Written:
    """Write a Feast repository with embedding spaces into `folder`.

    Args:
        catalogue: path, URL or table whose columns it is made for; None writes the shape of a small shop.
        key: key column of the catalogue; guessed when not given.
        entity: Feast entity; default the key's name without `_id`.
        project: Feast project; default the folder's name.
        force: replace files that are there.

    Raises:
        ConfigurationError: a file is there already, or a name that Feast would not take.
        CatalogueError: the catalogue cannot be read, or has no key.
    """
    target = Path(folder).resolve()
    project = _checked(project, "project") if project else identifier(target.name, "project")
    if entity is not None:
        _checked(entity, "entity")
    if catalogue is None:
        shape = generic_shop(project)
    else:
        shape = infer_shape(catalogue, project=project, key=key, entity=entity)
    files = render(shape, endpoints or Endpoints())
    if target.exists() and not target.is_dir():
        raise ConfigurationError(f"{target} is a file; name a folder")
    there = [name for name in files if os.path.lexists(target / name)]
    if there and not force:
        raise ConfigurationError(f"{target} already has {', '.join(there)}; name another folder, or --force to replace")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            _write(target / name, text)
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror or error}") from error
    return Written(target, shape, tuple(sorted(files)))


def _checked(name: str, what: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,47}", name):
        raise ConfigurationError(f"{what} {name!r}: use up to 48 letters, digits and underscores, a letter first")
    return name


def _write(file: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
