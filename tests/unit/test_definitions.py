"""Repository files are read as Feast's own command reads them, and leave no trace in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from connector.definitions import load_definitions
from connector.errors import ConfigurationError, ContractMismatchError

ENTITY = (
    "from feast import Entity, ValueType\n{0} = Entity(name={0!r}, join_keys=['id'], value_type=ValueType.STRING)\n"
)


def repository(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def names(folder: Path) -> set[str]:
    return {entity.name for entity in load_definitions(folder, "shop").entities} - {"__dummy"}


def test_two_repositories_with_files_of_one_name(tmp_path: Path) -> None:
    one = repository(tmp_path / "one", features=ENTITY.format("first"))
    two = repository(tmp_path / "two", shared=ENTITY.format("second"), features="from shared import second")
    assert names(one) == {"first"}
    assert names(two) == {"second"}
    assert names(one) == {"first"}


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    folder = repository(tmp_path / "one", features=ENTITY.format("first"), json="JSON = 1\n")
    import json

    before = (Path.cwd(), list(sys.path), sys.dont_write_bytecode)
    names(folder)
    assert before == (Path.cwd(), list(sys.path), sys.dont_write_bytecode)
    assert sys.modules["json"] is json
    assert "features" not in sys.modules
    assert sorted(path.name for path in folder.iterdir()) == ["features.py", "json.py"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nraise RuntimeError('two\\nlines')", r"features\.py:2: RuntimeError: two lines"),
        ("def (", r"features\.py:1: SyntaxError"),
        ("import no_such_module", r"features\.py:1: ModuleNotFoundError"),
        ("raise SystemExit(3)", r"features\.py:1: SystemExit"),
        ("from feast import Project\np = Project(name='other')", "project other"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    folder = repository(tmp_path / "one", features=text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_definitions(folder, "shop")
    assert "\n" not in str(caught.value)
    assert Path.cwd() != folder


def test_an_error_of_our_own_keeps_its_class(tmp_path: Path) -> None:
    text = "from connector.errors import ContractMismatchError\nraise ContractMismatchError('a and b')"
    with pytest.raises(ContractMismatchError, match=r"features\.py:2: a and b"):
        load_definitions(repository(tmp_path / "one", features=text), "shop")
