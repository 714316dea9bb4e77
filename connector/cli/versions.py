"""`connector versions | promote | rollback | prune`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.options import JsonOption, RepoOption, opened, pairs
from connector.cli.output import note, print_json, print_rows
from connector.errors import ConfigurationError, PromotionError

if TYPE_CHECKING:
    from connector.versions import GateReport, PromotionReport

SpaceArgument = Annotated[str, typer.Argument(help="The space.")]
COLUMNS = ["version", "state", "aliased", "rows", "encoder", "dimension", "metric", "collection", "log"]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command("versions")
    def versions(space: SpaceArgument, repo: RepoOption = Path(), as_json: JsonOption = False) -> None:
        """List the versions of a space: serving, candidates, previous ones."""
        with opened(repo) as connector:
            rows = [version.to_dict() for version in connector.versions(space)]
        if as_json:
            print_json(rows)
        else:
            print_rows(rows, COLUMNS)

    @app.command("promote")
    def promote(
        space: SpaceArgument,
        version: Annotated[str | None, typer.Option(help="4, or 4r2; default the highest candidate.")] = None,
        gate: Annotated[
            list[str] | None,
            typer.Option("--gate", help="A bound of the gate, as min_recall=0.9 or min_rows=0.5."),
        ] = None,
        metric: Annotated[
            list[str] | None,
            typer.Option("--metric", help="NAME=package.module:function, a figure of a version; more is better."),
        ] = None,
        override: Annotated[list[str] | None, typer.Option("--override", help="A check that may fail.")] = None,
        repo: RepoOption = Path(),
        as_json: JsonOption = False,
    ) -> None:
        """Let a candidate version serve, if it passes the gate. Exit code 1, and nothing moved, if it does not."""
        from pydantic import ValidationError

        from connector.versions import GateSettings

        try:
            settings = GateSettings.model_validate(pairs(gate or [], "--gate"))
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigurationError(f"--gate {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        metrics = {name: _function(path) for name, path in pairs(metric or [], "--metric").items()}
        try:
            with opened(repo) as connector:
                report = connector.promote(
                    space,
                    version,
                    settings=settings,
                    metrics=metrics,
                    override=override or (),
                    notice=lambda line: None if as_json else note(line),
                )
        except PromotionError as error:
            _print_gate(error.report, as_json)
            note(f"not promoted: {error}")
            raise typer.Exit(1) from error
        _print_move(report, as_json)

    @app.command("rollback")
    def rollback(
        space: SpaceArgument,
        version: Annotated[str | None, typer.Option(help="3, or 3r2; default the one that served before.")] = None,
        repo: RepoOption = Path(),
        as_json: JsonOption = False,
    ) -> None:
        """Let the version serve again that served before."""
        with opened(repo) as connector:
            report = connector.rollback(space, version)
        _print_move(report, as_json)

    @app.command("prune")
    def prune(
        space: SpaceArgument,
        keep: Annotated[int, typer.Option(min=0, help="Previous versions that stay.")] = 1,
        version: Annotated[list[str] | None, typer.Option(help="Instead: a version to remove.")] = None,
        logs: Annotated[bool, typer.Option("--logs", help="Remove their offline logs too.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
        repo: RepoOption = Path(),
        as_json: JsonOption = False,
    ) -> None:
        """Remove previous versions of a space; never the one that serves."""
        with opened(repo) as connector:
            removed = connector.prune(space, keep=keep, versions=version or (), logs=logs, dry_run=dry_run)
        rows = [each.to_dict() for each in removed]
        if as_json:
            print_json({"dry_run": dry_run, "removed": rows})
        elif rows:
            print_rows(rows, COLUMNS, title="would be removed" if dry_run else "removed")
        else:
            note(f"space {space}: nothing to remove")


def _function(path: str) -> Callable[..., float]:
    module, _, name = path.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"--metric {path!r}: {error}; write package.module:function") from error
    if not callable(found):
        raise ConfigurationError(f"--metric {path!r} is not a function")
    function: Callable[..., float] = found
    return function


def _print_gate(gate: GateReport, as_json: bool) -> None:
    if as_json:
        print_json({"promoted": False, "gate": gate.to_dict()})
    elif gate.checks:
        print_rows([vars(check) for check in gate.checks], ["name", "value", "bound", "passed", "detail"])


def _print_move(report: PromotionReport, as_json: bool) -> None:
    if as_json:
        print_json({"promoted": True, **report.to_dict()})
        return
    if report.gate.checks:
        _print_gate(report.gate, as_json=False)
    typer.echo(f"space {report.space}: version {report.now} serves, version {report.before} did before")
    note(report.next_step)
