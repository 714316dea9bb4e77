"""`connector pretrain`."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from connector.cli.options import JsonOption, RepoOption
from connector.cli.output import note, print_json


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("pretrain")
    def pretrain(
        spec: Annotated[Path, typer.Argument(help="The job: a YAML file.", metavar="SPEC.yaml")],
        resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
        publish: Annotated[
            str | None,
            typer.Option(
                metavar="NAME", help="Put the encoder into the model repository, as the next version of NAME."
            ),
        ] = None,
        repo: RepoOption = Path(),
        as_json: JsonOption = False,
    ) -> None:
        """Run the pretraining job that a spec describes; its `job` says which.

        Processes that `accelerate launch` or `torchrun` started share the job; one of them publishes and prints.
        """
        from connector.adaptation import load_spec, pretrain
        from connector.adaptation.jobs import job_processes
        from connector.adaptation.publishing import ENCODER_JOBS, publish_next, require_target

        job = load_spec(spec)
        repository = None
        if publish is not None:
            from connector.repository import Repository

            repository = Repository(repo)
            require_target(repository.model_repository, job, publish)
        record: dict[str, Any] = {}
        with contextlib.redirect_stdout(sys.stderr):
            report = pretrain(job, resume=resume, show=not as_json)
            if not job_processes(job).main:
                return
            if publish is not None and repository is not None:
                from connector.applying import refresh_local_server

                contract = publish_next(repository.model_repository, report.folder, publish)
                refresh_local_server(repository.path, note)
                record = {"published": contract.label}
        if as_json:
            print_json({**asdict(cast(Any, report)), **record})
            return
        typer.echo(str(report))
        if record:
            typer.echo(f"published {record['published']}")
        elif job.job in ENCODER_JOBS:
            typer.echo(f"next: connector encoders publish {report.folder} --name NAME")
