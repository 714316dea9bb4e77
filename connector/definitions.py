"""The Python files of a Feast repository → the objects they declare, in this process and without a trace of it."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from connector.errors import ConfigurationError, ConnectorError

_ONE_AT_A_TIME = threading.Lock()


def load_definitions(folder: Path, project: str) -> Any:
    """What Feast's own command would apply: a `feast.repo_contents.RepoContents` with its project.

    The working directory, the module path and the modules of the repository are as before when this returns, so that
    repositories with files of the same names can be applied by one process.

    Raises:
        ConfigurationError: a file that cannot be imported (names file, line and reason), or another project.
    """
    from feast import Project
    from feast.repo_operations import get_repo_files, parse_repo

    with _inside(folder, get_repo_files(folder)):
        try:
            contents = parse_repo(folder)
        except ConnectorError as error:
            raise type(error)(f"{_place(error, folder)}: {error}") from error
        except (Exception, SystemExit) as error:  # a repository file may raise anything
            reason = " ".join(str(error).split())
            raise ConfigurationError(f"{_place(error, folder)}: {type(error).__name__}: {reason}") from error
    names = [declared.name for declared in contents.projects]
    if not names:
        contents.projects.append(Project(name=project))
    elif names != [project]:
        raise ConfigurationError(
            f"{folder}: files declare project {', '.join(names)}, feature_store.yaml says {project}; make them the same"
        )
    return contents


@contextlib.contextmanager
def _inside(folder: Path, files: list[Path]) -> Iterator[None]:
    with _ONE_AT_A_TIME:
        directory, path, flag = Path.cwd(), list(sys.path), sys.dont_write_bytecode
        names = {".".join(file.relative_to(folder).with_suffix("").parts) for file in files}
        names |= {name.split(".")[0] for name in names}
        hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}
        before = set(sys.modules)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            os.chdir(directory)
            sys.path[:] = path
            sys.dont_write_bytecode = flag
            for name in set(sys.modules) - before:
                file = getattr(sys.modules[name], "__file__", None)
                if name in names or (file and Path(file).is_relative_to(folder)):
                    del sys.modules[name]
            sys.modules.update(hidden)


def _place(error: BaseException, folder: Path) -> str:
    """`file:line` of the deepest frame inside the repository, else the folder."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(folder)]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else str(folder)
