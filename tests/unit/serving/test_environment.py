from __future__ import annotations

import sys
from pathlib import Path

import pytest

from connector.errors import ServingError
from connector.serving import environment as environments
from connector.serving.environment_build import build

ROOT = Path(__file__).parents[3]


def test_the_server_requirements_are_one_text() -> None:
    assert (ROOT / "triton_models" / "requirements.txt").read_text() == environments.requirements()


def test_an_explicit_environment_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="no virtual environment"):
        environments.find(tmp_path)


def test_the_variable_names_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environments.VARIABLE, str(tmp_path / "there"))
    with pytest.raises(ServingError, match="there: no virtual environment"):
        environments.find()


def test_an_environment_without_triton_is_refused() -> None:
    with pytest.raises(ServingError, match=r"cannot run Triton: .*pytriton"):
        environments.find(sys.prefix)


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "aarch64")])
def test_platforms_without_a_wheel(system: str, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments.platform, "system", lambda: system)
    monkeypatch.setattr(environments.platform, "machine", lambda: machine)
    with pytest.raises(ServingError, match="run in this process instead"):
        environments.find_or_build()


def test_the_cache_folder_follows_requirements_and_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = environments.cache_folder()
    assert folder.parent == tmp_path / "multimodal-connector"
    assert f"triton-{sys.version_info.major}.{sys.version_info.minor}-" in folder.name
    monkeypatch.setattr(environments, "requirements", lambda: "numpy<2\n")
    assert environments.cache_folder() != folder


def test_a_missing_libpython_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_linker_cache", lambda: "")
    with pytest.raises(ServingError, match=r"libpython3\.9\.so\.1\.0 was not found.*apt-get install libpython3\.9"):
        environments.find_libpython("3.9", tmp_path)


def test_libpython_is_found_beside_python_and_by_the_linker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "lib" / "libpython3.9.so.1.0"
    library.parent.mkdir()
    library.touch()
    assert environments.find_libpython("3.9", tmp_path) == library
    listing = f"\tlibpython3.9.so.1.0 (libc6,x86-64) => {library}\n"
    monkeypatch.setattr(environments, "_linker_cache", lambda: listing)
    assert environments.find_libpython("3.9", tmp_path / "elsewhere") == library


def test_a_build_is_finished_or_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "triton-x"
    with pytest.raises(ServingError, match=r"building the server's environment failed: .*log: "):
        build(folder, text="./a-package-that-is-not-there\n")
    assert folder.exists()
    assert not environments.is_complete(folder)
    (folder / "left-over").touch()
    build(folder, text="")
    assert environments.is_complete(folder)
    assert not (folder / "left-over").exists()
    (folder / "kept").touch()
    build(folder, text="")
    assert (folder / "kept").exists()


@pytest.mark.triton
def test_the_built_environment_is_found(monkeypatch: pytest.MonkeyPatch, triton_environment: object) -> None:
    found = environments.find()
    assert found == triton_environment
    assert found is not None
    assert found.libpython.is_file()
    assert (found.triton / "bin" / "tritonserver").is_file()
