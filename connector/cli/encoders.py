"""`connector encoders list | publish`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from connector.cli.options import JsonOption, RepoOption
from connector.cli.output import note, print_json, print_rows


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(name="encoders", help="Encoders in the Triton model repository.", no_args_is_help=True)
    app.add_typer(group)

    @group.command("list")
    def list_encoders(repo: RepoOption = Path(), as_json: JsonOption = False) -> None:
        """List the encoders of the model repository."""
        from connector.repository import Repository
        from connector.serving import published

        folder = Repository(repo).model_repository
        rows = [
            {
                "name": contract.name,
                "version": contract.version,
                "modality": contract.modality,
                "dimension": contract.dimension,
                "metric": contract.metric,
                "pooling": contract.pooling,
                "max_input": contract.max_input,
                "hash": contract.hash,
            }
            for contract in published(folder)
        ]
        if as_json:
            print_json(rows)
        elif rows:
            print_rows(rows, list(rows[0]))
        else:
            note(f"{folder} holds no encoder; `connector apply` publishes the shipped ones")

    @group.command("publish")
    def publish_encoder(
        source: Annotated[str, typer.Argument(help="text, image, audio, video, a Hugging Face id, or a folder.")],
        name: Annotated[str, typer.Option(help="Name of the encoder, and of the Triton model.")],
        version: Annotated[int, typer.Option(min=1, help="Version of the encoder.")] = 1,
        repo: RepoOption = Path(),
        as_json: JsonOption = False,
    ) -> None:
        """Export an encoder to ONNX and write it into the model repository."""
        from connector.applying import refresh_local_server
        from connector.repository import Repository
        from connector.serving import publish

        repository = Repository(repo)
        folder = repository.model_repository
        with contextlib.redirect_stdout(sys.stderr):
            contract = publish(folder, source, name=name, version=version)
            refresh_local_server(repository.path, note)
        if as_json:
            print_json({"folder": folder / name / str(version), "hash": contract.hash, "contract": contract.to_json()})
        else:
            typer.echo(f"{contract.label} in {folder / name / str(version)}")
