"""`connector reconcile | compact`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connector.cli.options import JsonOption, RepoOption, opened
from connector.cli.output import note, print_json, print_rows

COLUMNS = [
    "version",
    "state",
    "keys",
    "stored",
    "missing",
    "stale",
    "changed",
    "orphans",
    "ahead",
    "written",
    "removed",
]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("reconcile")
    def reconcile(
        space: Annotated[str, typer.Argument(help="The space or content view.")],
        repair: Annotated[
            bool, typer.Option("--repair", help="Write what Milvus lacks, delete what the log does not have.")
        ] = False,
        repo: RepoOption = Path(),
        as_json: JsonOption = False,
    ) -> None:
        """Compare the offline log of a space with Milvus; the log is right. Exit code 1 when they differ."""
        with opened(repo) as connector:
            report = connector.reconcile(space, repair=repair)
        if as_json:
            print_json(report.to_dict())
        else:
            print_rows([vars(each) for each in report.versions], COLUMNS, title=space)
            for each in report.versions:
                for kind, keys in each.examples.items():
                    note(f"{each.collection}: {kind}: {', '.join(map(repr, keys))}")
            for line in report.notes:
                note(line)
            if not report.agrees:
                note("--repair ends these differences" if not repair else "rows that are newer than the log were left")
        if not report.agrees:
            raise typer.Exit(1)

    @app.command("compact")
    def compact(
        space: Annotated[str, typer.Argument(help="The space or content view.")],
        repo: RepoOption = Path(),
        as_json: JsonOption = False,
    ) -> None:
        """Merge the small parts of a space's offline logs. Feast's own jobs over them should not run meanwhile."""
        with opened(repo) as connector:
            rows = [vars(each) for each in connector.compact(space)]
        if as_json:
            print_json(rows)
        else:
            print_rows(rows, ["view", "version", "merged", "made", "log"])
