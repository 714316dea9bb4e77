"""`connector ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connector.cli.options import JsonOption, RepoOption, opened, pairs
from connector.cli.output import note, print_json
from connector.cli.progress import ProgressBar


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("ingest")
    def ingest(
        source: Annotated[
            str, typer.Argument(help="Catalogue: path, glob, folder or URL of Parquet, Arrow, CSV, JSONL.")
        ],
        entity: Annotated[
            str | None, typer.Option("--entity", "-e", help="Feast entity; needed where there are several.")
        ] = None,
        space: Annotated[
            list[str] | None, typer.Option(help="Space or content view to fill; may repeat. Default: all.")
        ] = None,
        key: Annotated[str | None, typer.Option(help="Column of the key, where it is called otherwise.")] = None,
        rename: Annotated[
            list[str] | None,
            typer.Option("--map", help="FIELD=COLUMN where the catalogue calls it otherwise; may repeat."),
        ] = None,
        event_timestamp: Annotated[str | None, typer.Option(help="Column of the event time.")] = None,
        media_root: Annotated[str | None, typer.Option(help="Folder that relative media paths start from.")] = None,
        remote_media: Annotated[bool, typer.Option("--remote-media", help="Fetch media from URLs.")] = False,
        strict: Annotated[bool, typer.Option("--strict", help="Bad rows are an error (exit code 2).")] = False,
        restart: Annotated[
            bool, typer.Option("--restart", help="Begin anew, instead of where an earlier run was killed.")
        ] = False,
        repo: RepoOption = Path(),
        as_json: JsonOption = False,
    ) -> None:
        """Read a catalogue, encode it, and write it to the offline log and Milvus.

        Bad rows are left out with a warning; `connector dead-letters` lists them. A run that was killed goes on where
        it was when the same command is given again.
        """
        with opened(repo) as connector, ProgressBar("ingest", show=not as_json) as bar:
            report = connector.ingest(
                source,
                entity,
                spaces=space,
                key=key,
                mapping=pairs(rename or [], "--map") or None,
                event_timestamp=event_timestamp,
                media_root=media_root,
                allow_remote_media=remote_media,
                strict=strict,
                restart=restart,
                progress=bar,
            )
        if as_json:
            print_json(report.to_dict())
        else:
            typer.echo(str(report))
        if report.dead_letters:
            note(f"warning: {report.dead_letters} rows were left out; see `connector dead-letters --repo {repo}`")
