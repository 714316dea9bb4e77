"""The `connector` command: the verbs of the library, for shells and scripts.

Exit codes: 0 done; 1 done, but something needs a look (`apply` found problems); 2 nothing was done, with one line on
standard error that says why. Rows left out of an ingest are a warning, and an error under `--strict`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main", "run"]


def main() -> None:
    """Entry point of the installed command."""
    sys.exit(run(sys.argv[1:], own_process=True))


def run(arguments: Sequence[str], *, own_process: bool = False) -> int:
    """Run one command line → its exit code; errors are printed, never raised.

    Args:
        own_process: the process is this command's alone, so that it may load Feast without what it does not need.
    """
    from connector.cli.app import run as run_app

    return run_app(list(arguments), own_process)
