"""The command line put together: one sub-command per file, errors in one line."""

from __future__ import annotations

import logging
import os
import traceback
import warnings

import typer
from typer.main import get_command

from connector.cli import (
    apply,
    dead_letters,
    delete,
    encoders,
    ingest,
    init,
    plan,
    pretrain,
    reconcile,
    search,
    spaces,
    stack,
    versions,
)
from connector.cli.options import OWN_PROCESS
from connector.errors import ConnectorError

USAGE_ERROR = 2


def build() -> typer.Typer:
    """The application with all of its commands."""
    app = typer.Typer(
        name="connector",
        help="Multimodal encoders on Triton, written into Feast and Milvus.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        debug: bool = typer.Option(False, "--debug", help="Show tracebacks, warnings and logs."),
        version: bool = typer.Option(
            False, "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
        ),
    ) -> None:
        pass

    for group in (init, plan, apply, stack, ingest, search, spaces, versions, reconcile, encoders, pretrain):
        group.register(app)
    for group in (dead_letters, delete):
        group.register(app)
    return app


def run(arguments: list[str], own_process: bool) -> int:
    """Run a command line → exit code."""
    debug = "--debug" in arguments  # wherever it stands; no command has an option of that name
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not debug:
        _quiet()
    token = OWN_PROCESS.set(own_process)
    try:
        get_command(build()).main(args=arguments, prog_name="connector")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except ConnectorError as error:
        return _report(" ".join(str(error).split()), debug)
    except Exception as error:  # noqa: BLE001 - a fault of ours, and still no reason to print a traceback
        message = " ".join(str(error).split()) or "no message"
        return _report(f"unexpected {type(error).__name__}: {message} (--debug shows the traceback)", debug)
    finally:
        OWN_PROCESS.reset(token)
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("multimodal-connector"))
        raise typer.Exit


def _report(message: str, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    from connector.cli.output import note

    note(f"error: {message}")
    return USAGE_ERROR


def _quiet() -> None:
    """Keep what libraries log, warn and draw away from a person who asked for a result."""
    logging.getLogger().setLevel(logging.CRITICAL)
    for name in ("pymilvus", "feast", "transformers", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
