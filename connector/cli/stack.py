"""`connector up`, `down`, `status`: the local servers of a feature repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from connector.cli.options import JsonOption, RepoOption
from connector.cli.output import note, print_json, print_rows

if TYPE_CHECKING:
    from connector.serving.status import StackStatus


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command("up")
    def up(repo: RepoOption = Path(), as_json: JsonOption = False) -> None:
        """Start the local Triton and Milvus servers and wait until they are ready; again is a no-op."""
        from rich.console import Console

        from connector.serving import stack

        with Console(stderr=True, quiet=as_json).status("starting the local servers"):
            report = stack.up(repo)
        _print(report, as_json=as_json)

    @app.command("down")
    def down(repo: RepoOption = Path(), as_json: JsonOption = False) -> None:
        """Stop the local servers."""
        from connector.serving import stack

        stopped = stack.down(repo)
        if as_json:
            print_json({"stopped": stopped})
        else:
            note("stopped" if stopped else "nothing was running")

    @app.command("status")
    def status(repo: RepoOption = Path(), as_json: JsonOption = False) -> None:
        """Show the local servers and their models; exit code 1 where they are not all ready."""
        from connector.serving import stack

        report = stack.status(repo)
        _print(report, as_json=as_json)
        if not report.ready:
            raise typer.Exit(1)


def _print(report: StackStatus, *, as_json: bool) -> None:
    if as_json:
        print_json(report.to_record())
        return
    if not report.running:
        note("nothing is running; start it by `connector up`")
        return
    print_rows(
        [
            {
                "server": server.name,
                "state": server.state,
                "endpoint": server.url,
                "pid": server.pid,
                "up": f"{server.uptime_s:.0f} s",
                "restarts": server.restarts,
                "log": server.log,
            }
            for server in report.servers
        ],
        ["server", "state", "endpoint", "pid", "up", "restarts", "log"],
    )
    if report.models:
        rows = [
            {"encoder": f"{model.name}/{model.version}", "state": model.state, "contract": model.contract_hash}
            for model in report.models
        ]
        print_rows(rows, ["encoder", "state", "contract"])
    for line in (f"{model.name}/{model.version}: {model.reason}" for model in report.models if model.reason):
        note(line)
    for line in (f"{server.name}: {server.error}" for server in report.servers if server.error):
        note(line)
