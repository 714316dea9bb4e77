"""How long `import connector` takes, in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from benchmarks.harness import Figure, figure, interleaved


def run() -> tuple[list[Figure], dict[str, Any]]:
    """Median of 15 fresh interpreters, an empty one subtracted."""
    times = interleaved(
        {
            "empty": lambda: _python("pass"),
            "connector": lambda: _python("from connector import Connector, embedding_view"),
        },
        rounds=15,
        warm_up=2,
    )
    return [figure("import connector", times["connector"] - times["empty"], "s", goal="<= 0.3")], {}


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)
