"""Options that every command shares, and the opening of a Connector from them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli.quick_feast import import_feast_quickly

if TYPE_CHECKING:
    from connector.config import Settings
    from connector.connector import Connector

RepoOption = Annotated[
    Path, typer.Option("--repo", "-r", envvar="CONNECTOR_REPO", help="The Feast repository.", show_default="here")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


OWN_PROCESS: ContextVar[bool] = ContextVar("own_process", default=False)
"""Whether the process is this command's alone."""


@contextlib.contextmanager
def opened(repo: Path, *, settings: Settings | None = None, declares: bool = False) -> Iterator[Connector]:
    """A Connector; what libraries print meanwhile goes to standard error, so that output stays clean.

    Args:
        declares: the command runs the repository's files, whose mistakes Feast should find.
    """
    from connector.connector import Connector

    with contextlib.redirect_stdout(sys.stderr), Connector(repo, settings) as connector:
        if OWN_PROCESS.get():
            import_feast_quickly(checks=declares)
        yield connector


def pairs(items: list[str], option: str) -> dict[str, str]:
    """`["a=b", …]` → {"a": "b", …}."""
    result: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name or not value:
            raise typer.BadParameter(f"{item!r} is not of the form NAME=VALUE", param_hint=option)
        result[name] = value
    return result
