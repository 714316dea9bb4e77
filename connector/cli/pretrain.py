"""`connector pretrain`."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

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
        """Run the pretraining job that a spec describes; its `job` says which."""
        from connector.adaptation import load_spec, pretrain

        with contextlib.redirect_stdout(sys.stderr):
            report = pretrain(load_spec(spec), resume=resume, show=not as_json)
        if as_json:
            print_json(asdict(cast(Any, report)))
        else:
            typer.echo(str(report))
            typer.echo(f"next: connector encoders publish {report.folder} --name NAME")
