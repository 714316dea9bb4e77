"""`connector init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connector.cli.options import JsonOption
from connector.cli.output import note, print_json


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("init")
    def init(
        folder: Annotated[Path, typer.Argument(help="Folder of the new repository.", metavar="DIR")],
        catalogue: Annotated[str | None, typer.Option(help="Catalogue to make it for: path, glob or URL.")] = None,
        key: Annotated[str | None, typer.Option(help="Key column of the catalogue; guessed when not given.")] = None,
        entity: Annotated[str | None, typer.Option(help="Feast entity; default: the key without _id.")] = None,
        project: Annotated[str | None, typer.Option(help="Feast project; default: the folder's name.")] = None,
        milvus: Annotated[str | None, typer.Option(help="Milvus: a file for Milvus Lite, or a URI.")] = None,
        triton: Annotated[str | None, typer.Option(help="Triton's gRPC endpoint, host:port.")] = None,
        model_repository: Annotated[str | None, typer.Option(help="Folder of the Triton models.")] = None,
        force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Write a Feast repository with embedding spaces, for a catalogue or as a start."""
        from connector.scaffold import Endpoints, init_repository

        standard = Endpoints()
        written = init_repository(
            folder,
            catalogue=catalogue,
            key=key,
            entity=entity,
            project=project,
            endpoints=Endpoints(
                milvus=milvus or standard.milvus,
                triton=triton,
                model_repository=model_repository or standard.model_repository,
            ),
            force=force,
        )
        shape = written.shape
        if as_json:
            print_json(
                {
                    "folder": written.folder,
                    "files": written.files,
                    "project": shape.project,
                    "entity": shape.entity,
                    "key": shape.key.name,
                    "spaces": shape.spaces(),
                    "renamed": shape.renamed,
                    "left_out": shape.left_out,
                }
            )
            return
        typer.echo(f"{written.folder}: entity {shape.entity} by {shape.key.name}")
        if shape.text:
            typer.echo(f"  {shape.entity}_text   from {', '.join(shape.text)}")
        for column, space in shape.media_spaces().items():
            typer.echo(f"  {space}  from {column}")
        if shape.carried:
            typer.echo(f"  filters on   {', '.join(column.name for column in shape.carried)}")
        for name, reason in shape.left_out.items():
            note(f"left out: {name!r} ({reason})")
        typer.echo(f"next: connector apply --repo {folder}")
