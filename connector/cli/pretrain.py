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
        published: list[str] = []
        with contextlib.redirect_stdout(sys.stderr):
            report = pretrain(job, resume=resume, show=not as_json)
            if not job_processes(job).main:
                return
            if publish is not None and repository is not None:
                from connector.applying import refresh_local_server

                for suffix, folder in report.encoders.items():
                    contract = publish_next(repository.model_repository, folder, publish + suffix)
                    published.append(contract.label)
                refresh_local_server(repository.path, note)
        if as_json:
            print_json({**asdict(cast(Any, report)), **({"published": published} if published else {})})
            return
        typer.echo(str(report))
        for label in published:
            typer.echo(f"published {label}")
        if not published and job.job in ENCODER_JOBS:
            for suffix, folder in report.encoders.items():
                typer.echo(f"next: connector encoders publish {folder} --name NAME{suffix}")
