"""The public names, and how little it takes to import them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import connector
import connector.errors
from encoders.errors import ConnectorError

PUBLIC = {
    "ApplyReport",
    "Connector",
    "ConnectorError",
    "EmbeddingSpace",
    "IngestReport",
    "Settings",
    "content_view",
    "embedding_view",
}
HEAVY = ("torch", "transformers", "feast", "pymilvus", "pandas", "numpy", "pyarrow", "tritonclient", "onnxruntime")


def test_the_public_names() -> None:
    assert set(connector.__all__) == PUBLIC
    assert set(dir(connector)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(connector, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="conector"):
        _ = connector.conector


@pytest.mark.parametrize("statement", ["import connector", "from connector import ConnectorError", "import encoders"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert _loaded_by(statement) == ""


def test_the_help_of_the_command_loads_nothing_heavy() -> None:
    run = "import contextlib, io, connector.cli\nwith contextlib.redirect_stdout(io.StringIO()):\n    "
    for arguments in (["--help"], ["search", "--help"]):
        assert _loaded_by(f"{run}assert connector.cli.run({arguments!r}) == 0") == ""


def test_every_error_is_a_connector_error() -> None:
    for name in connector.errors.__all__:
        assert issubclass(getattr(connector.errors, name), ConnectorError)


def _loaded_by(statement: str) -> str:
    code = f"import sys\n{statement}\nprint(' '.join(n for n in {HEAVY!r} if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
