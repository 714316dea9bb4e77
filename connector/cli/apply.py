"""`connector apply`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from connector.cli.options import JsonOption, RepoOption, opened
from connector.cli.output import note, print_json, print_rows


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("apply")
    def apply(repo: RepoOption = Path(), as_json: JsonOption = False) -> None:
        """Apply the repository: Feast registry, Milvus collections, offline logs, encoders; then check them.

        Exit code 1 when what was found does not fit together.
        """
        with opened(repo, declares=True) as connector:
            report = connector.apply(lambda line: None if as_json else note(line))
        if as_json:
            print_json(report.to_dict())
        else:
            print_rows(
                [asdict(space) for space in report.spaces],
                ["name", "entity", "modality", "dimension", "metric", "encoder", "collection", "rows"],
            )
            for view in report.content_views:
                typer.echo(f"content view {view}")
        for line in report.candidates:
            note(line)
        for problem in report.problems:
            note(f"problem: {problem}")
        if report.problems:
            raise typer.Exit(1)
