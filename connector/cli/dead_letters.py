"""`connector dead-letters`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connector.cli.options import JsonOption, RepoOption
from connector.cli.output import note, print_json, print_rows
from connector.errors import CatalogueError


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("dead-letters")
    def dead_letters(
        run: Annotated[str | None, typer.Argument(help="Run to show; default: the last that left rows out.")] = None,
        limit: Annotated[int, typer.Option(min=1, help="Rows to show.")] = 50,
        every_run: Annotated[bool, typer.Option("--runs", help="List the runs instead.")] = False,
        repo: RepoOption = Path(),
        as_json: JsonOption = False,
    ) -> None:
        """Show the rows that an ingest left out, each with its reason."""
        from connector.connector import Connector
        from connector.ingest import read_dead_letters

        folder = Connector(repo).dead_letter_folder
        files = sorted(folder.glob("*.parquet"), key=lambda file: (file.stat().st_mtime, file.name))
        if every_run:
            runs = [{"run": file.stem, "rows": read_dead_letters(file).num_rows} for file in files]
            if as_json:
                print_json(runs)
            else:
                print_rows(runs, ["run", "rows"])
            return
        if run is not None:
            files = [file for file in files if file.stem == run]
            if not files:
                raise CatalogueError(f"{folder}: no run {run!r}; list them by `connector dead-letters --runs`")
        if not files:
            if as_json:
                print_json([])
            note("no ingest left a row out")
            return
        table = read_dead_letters(files[-1])
        rows = table.slice(0, limit).to_pylist()
        if as_json:
            print_json(rows)
            return
        print_rows(rows, ["row", "key", "space", "column", "kind", "reason"], title=f"run {files[-1].stem}")
        if table.num_rows > limit:
            note(f"{table.num_rows - limit} more; --limit shows them")
