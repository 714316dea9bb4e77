"""The server's virtual environment: found, or built from `requirements-triton.txt`.

Triton's Python backend needs numpy below 2 and Feast needs numpy 2 or later, so the server lives in an environment of
its own. Looked for in this order: what the caller or `triton.environment` names, `CONNECTOR_TRITON__ENVIRONMENT`,
`.venv-triton` beside the project or in the working folder, and the user's cache folder, where it is built.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from connector.errors import ServingError

VARIABLE = "CONNECTOR_TRITON__ENVIRONMENT"
LOCAL_NAME = ".venv-triton"

# Run by the environment's own Python: what a server started in it needs to know.
_PROBE = """
import importlib.util, json, sys, sysconfig
from importlib.metadata import version
found = importlib.util.find_spec("pytriton") or sys.exit("nvidia-pytriton is not installed in it")
root = found.submodule_search_locations[0]
print(json.dumps({"triton": root + "/tritonserver", "python": "%d.%d" % sys.version_info[:2],
    "numpy": version("numpy"), "libraries": sysconfig.get_path("purelib") + "/nvidia_pytriton.libs",
    "libdir": sysconfig.get_config_var("LIBDIR") or "", "base": sys.base_prefix}))
"""


@dataclass(frozen=True)
class ServerEnvironment:
    """A virtual environment that can run Triton.

    Attributes:
        root: the environment.
        triton: folder with `bin/tritonserver`, the Python backend and its stubs.
        libraries: folder of the shared libraries that came with the wheel.
        python: its Python version, `3.11`.
        libpython: the `libpython3.x.so.1.0` that the backend's stub links.
    """

    root: Path
    triton: Path
    libraries: Path
    python: str
    libpython: Path


def requirements() -> str:
    """What the server's environment holds, as a requirements file."""
    return (files("connector.serving") / "requirements-triton.txt").read_text(encoding="utf-8")


def find(explicit: str | Path | None = None, *, near: Path | None = None) -> ServerEnvironment | None:
    """The server's environment where there is one, never building.

    Args:
        explicit: an environment that must be used.
        near: feature repository; `.venv-triton` is looked for in it and its parent too.

    Raises:
        ServingError: the explicit environment cannot run Triton, or the platform has no Triton wheel.
    """
    require_platform()
    named = explicit or os.environ.get(VARIABLE)
    if named:
        return inspect(Path(named).expanduser())
    for candidate in _candidates(near):
        if (candidate / "bin" / "python3").exists() and _has_triton(candidate):
            return inspect(candidate)
    cached = cache_folder()
    return inspect(cached) if is_complete(cached) else None


def find_or_build(explicit: str | Path | None = None, *, near: Path | None = None) -> ServerEnvironment:
    """As `find`; where there is none, builds one in the cache folder, which takes a minute or two the first time.

    Raises:
        ServingError: as in `find`, or the build failed.
    """
    from connector.serving.environment_build import build

    found = find(explicit, near=near)
    if found is None:
        build(cache_folder())
        found = inspect(cache_folder())
    return found


def require_platform() -> None:
    """Raise `ServingError` where the Triton wheel does not exist."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise ServingError(
            f"there is no Triton wheel for {platform.system()} on {platform.machine()}; encoders run in this process "
            "instead (triton.mode: process), or set triton.url to a server elsewhere"
        )


def cache_folder() -> Path:
    """Where an environment for this Python and these requirements is built."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    digest = hashlib.sha256(requirements().encode()).hexdigest()[:12]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return base / "multimodal-connector" / f"triton-{version}-{digest}"


def marker(folder: Path) -> Path:
    """File whose presence says that the build of an environment was finished."""
    return folder / ".complete"


def is_complete(folder: Path) -> bool:
    """Whether a cached environment was built to its end."""
    return marker(folder).is_file()


def inspect(root: Path) -> ServerEnvironment:
    """Look at an environment.

    Raises:
        ServingError: it is no virtual environment, lacks Triton, or holds a numpy that breaks it; says which.
    """
    python = root / "bin" / "python3"
    if not python.exists():
        raise ServingError(f"{root}: no virtual environment (bin/python3 is missing); unset it to have one built")
    probe = subprocess.run([str(python), "-I", "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False)
    if probe.returncode != 0:
        raise ServingError(
            f"{root}: cannot run Triton: {last_line(probe.stderr)}; "
            f"install triton_models/requirements.txt in it, or unset it to have one built"
        )
    facts = json.loads(probe.stdout)
    if int(facts["numpy"].split(".")[0]) >= 2:
        raise ServingError(
            f"{root}: holds numpy {facts['numpy']}, and Triton's Python backend needs numpy<2; "
            "install triton_models/requirements.txt in an environment of its own"
        )
    return ServerEnvironment(
        root=root.absolute(),
        triton=Path(facts["triton"]),
        libraries=Path(facts["libraries"]),
        python=facts["python"],
        libpython=find_libpython(facts["python"], Path(facts["libdir"]), Path(facts["base"])),
    )


def find_libpython(version: str, *folders: Path) -> Path:
    """Path of `libpython<version>.so.1.0`, in `folders` or known to the dynamic linker.

    Raises:
        ServingError: there is none.
    """
    name = f"libpython{version}.so.1.0"
    for folder in (place for given in folders for place in (given, given / "lib")):
        if (folder / name).is_file():
            return folder / name
    for line in _linker_cache().splitlines():
        listed, _, path = line.partition(" => ")
        if listed.strip().startswith(name) and Path(path.strip()).is_file():
            return Path(path.strip())
    raise ServingError(
        f"{name} was not found and Triton's Python backend needs it; install it (Debian, Ubuntu: "
        f"apt-get install libpython{version}) or use a Python built with --enable-shared"
    )


def last_line(text: str) -> str:
    """The last line that says something, as tracebacks and pip put the reason there."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no output")


def _candidates(near: Path | None) -> list[Path]:
    import connector

    checkout = Path(connector.__file__).resolve().parent.parent
    places = [checkout, Path.cwd(), *([near, near.parent] if near else [])]
    return [place / LOCAL_NAME for place in places]


def _has_triton(root: Path) -> bool:
    return any(root.glob("lib/python3.*/site-packages/pytriton/tritonserver/bin/tritonserver"))


def _linker_cache() -> str:
    for program in ("ldconfig", "/sbin/ldconfig", "/usr/sbin/ldconfig"):
        try:
            return subprocess.run([program, "-p"], capture_output=True, text=True, timeout=20, check=False).stdout
        except OSError:
            continue
    return ""
