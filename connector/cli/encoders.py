"""`connector encoders list | publish`."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli.options import JsonOption, RepoOption
from connector.cli.output import note, print_json, print_rows
from connector.errors import ConfigurationError

if TYPE_CHECKING:
    from encoders.int8 import Int8Loss


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
        source: Annotated[
            str, typer.Argument(help="text, image, audio, video, fused, a Hugging Face id, or a folder.")
        ],
        name: Annotated[str, typer.Option(help="Name of the encoder, and of the Triton model.")],
        version: Annotated[int, typer.Option(min=1, help="Version of the encoder.")] = 1,
        modality: Annotated[
            str | None,
            typer.Option(help="Tower of a checkpoint that has two: text, image, audio or video (default: not text)."),
        ] = None,
        int8: Annotated[
            str | None, typer.Option(help="8-bit weights, with their loss measured on this catalogue (--column).")
        ] = None,
        column: Annotated[str, typer.Option(help="Column of the catalogue of --int8.")] = "text",
        limit: Annotated[
            list[str] | None,
            typer.Option(
                help="NAME=NUMBER that its inputs are held to, of all versions: max_pixels=100000000; repeat for more. "
                "They stay until others are given; none: the defaults again."
            ),
        ] = None,
        repo: RepoOption = Path(),
        as_json: JsonOption = False,
    ) -> None:
        """Export an encoder to ONNX and write it into the model repository."""
        from connector.applying import refresh_local_server
        from connector.repository import Repository
        from connector.serving import publish

        repository = Repository(repo)
        folder = repository.model_repository
        limits = None if not limit else {} if limit == ["none"] else dict(_limit(text) for text in limit)
        with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as scratch:
            loss = None
            if int8 is not None:
                loss = _export_int8(source, Path(scratch) / "int8", name, version, modality, int8, column)
                source = str(Path(scratch) / "int8")
            contract = publish(folder, source, name=name, version=version, modality=modality, limits=limits)
            refresh_local_server(repository.path, note)
        place = folder / name / str(version)
        if as_json:
            record = {"folder": place, "hash": contract.hash, "contract": contract.to_json()}
            print_json(record | ({} if loss is None else {"int8": asdict(loss)}))
        else:
            typer.echo(f"{contract.label} in {place}")
            if loss is not None:
                typer.echo(str(loss))


def _limit(text: str) -> tuple[str, str]:
    name, sign, number = text.partition("=")
    if not sign:
        raise ConfigurationError(f"--limit {text}: expected NAME=NUMBER, max_pixels=100000000 for instance")
    return name.strip(), number.strip()


def _export_int8(
    source: str, folder: Path, name: str, version: int, modality: str | None, catalogue: str, column: str
) -> Int8Loss:
    from connector.ingest.sample import read_sample
    from encoders import export_int8
    from encoders.source import resolve

    sample = read_sample(catalogue, column, text=resolve(source, modality).modality == "text")
    return export_int8(source, folder, name=name, version=version, modality=modality, sample=sample)[1]
