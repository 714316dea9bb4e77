"""`connector plan`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from connector.cli.options import JsonOption, RepoOption, opened
from connector.cli.output import print_json, print_rows


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("plan")
    def plan(repo: RepoOption = Path(), as_json: JsonOption = False) -> None:
        """Say what `connector apply` would do to each feature view; writes nothing.

        Exit code 1 when something would be refused.
        """
        with opened(repo, declares=True) as connector:
            rows = [asdict(change) for change in connector.plan()]
        if as_json:
            print_json(rows)
        else:
            print_rows(rows, ["view", "change", "detail"])
        if any(row["change"] == "refused" for row in rows):
            raise typer.Exit(1)
