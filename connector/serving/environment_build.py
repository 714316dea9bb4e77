"""Building the server's virtual environment in the cache folder, once for all that ask at the same time."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from connector.errors import ServingError
from connector.serving.environment import is_complete, last_line, marker, requirements

log = logging.getLogger(__name__)

BUILD_TIMEOUT_S = 3600.0


def build(folder: Path, *, text: str | None = None) -> None:
    """Make a virtual environment in `folder` and install the requirements.

    An environment cannot be moved once made, so it is built in place; a marker file is written last, and a folder
    without it is made anew.

    Args:
        text: requirements; default: the server's.

    Raises:
        ServingError: no room, no `venv`, or pip failed; names the log.
    """
    wanted = requirements() if text is None else text
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f"{folder.name}.lock")):
            if not is_complete(folder):
                _build(folder, wanted)
    except OSError as error:
        raise ServingError(f"{folder}: the server's environment cannot be built there: {error.strerror}") from error


def _build(folder: Path, wanted: str) -> None:
    started = time.monotonic()
    _say(f"building the Triton server's environment in {folder} (once; about 600 MB)")
    shutil.rmtree(folder, ignore_errors=True)
    output = folder.with_name(f"{folder.name}.log")
    output.unlink(missing_ok=True)
    python = str(folder / "bin" / "python3")
    # Our own pip installs into it where it can: quicker, and Debian's Python cannot give an environment one.
    ours = _pip_is_at_hand()
    venv = [sys.executable, "-m", "venv", *(["--without-pip"] if ours else []), str(folder)]
    _run(venv, output, "install the venv module (Debian: python3-venv)")
    listing = folder / "requirements.txt"
    listing.write_text(wanted, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", python] if ours else [python, "-m", "pip"]
    install = [*pip, "install", "--disable-pip-version-check", "--no-input", "-r", str(listing)]
    _run(install, output, "check the package index and the disk, then try again")
    marker(folder).write_text("", encoding="utf-8")
    _say(f"built in {time.monotonic() - started:.0f} s")


def _pip_is_at_hand() -> bool:
    """Whether this Python has a pip that can install into another environment."""
    try:
        major, minor = (int(part) for part in version("pip").split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return False
    return (major, minor) >= (22, 3)


def _run(command: list[str], output: Path, remedy: str) -> None:
    with output.open("ab") as stream:
        try:
            code = subprocess.run(
                command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, timeout=BUILD_TIMEOUT_S, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    if code != 0:
        reason = last_line(output.read_text(encoding="utf-8", errors="replace"))
        raise ServingError(f"building the server's environment failed: {reason}; {remedy} (log: {output})")


def _say(line: str) -> None:
    # Minutes of silence look like a hang, so a terminal is told whatever the logging level is.
    log.info(line)
    if sys.stderr.isatty():
        print(line, file=sys.stderr)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
