"""`connector pretrain`."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from connector.cli.options import JsonOption
from connector.cli.output import print_json


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("pretrain")
    def pretrain(
        spec: Annotated[Path, typer.Argument(help="The job: a YAML file.", metavar="SPEC.yaml")],
        resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Train an image encoder in the space of a text encoder, from pairs of pictures and words."""
        from connector.adaptation import load_spec, pretrain_contrastive

        with contextlib.redirect_stdout(sys.stderr):
            report = pretrain_contrastive(load_spec(spec), resume=resume, show=not as_json)
        if as_json:
            print_json(asdict(report))
        else:
            typer.echo(str(report))
            typer.echo(f"next: connector encoders publish {report.folder} --name NAME")
