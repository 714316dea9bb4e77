"""Run suites (all, or those named) and print their figures as one table."""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from rich.console import Console
from rich.table import Table

from benchmarks.harness import RESULTS, Figure, write_results
from benchmarks.report import measured, write_page

WIDTH = 160
SUITES = (
    "startup",
    "text",
    "image",
    "encoders",
    "training",
    "search",
    "ingest",
    "feast_store",
    "promotion",
    "memory",
)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], help=f"some of {', '.join(SUITES)}; all without")
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks.md from what was recorded")
    options = parser.parse_args(arguments)
    if options.page:
        print(write_page())
        return 0
    chosen = options.suites or list(SUITES)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for suite in chosen:
        console.print(f"[bold]{suite}[/bold] …")
        figures, notes = importlib.import_module(f"benchmarks.{suite}").run()
        write_results(suite, figures, notes)
        console.print(table({suite: figures}))
    everything = {path.stem: read(path.stem) for path in sorted(RESULTS.glob("*.json"))}
    console.print(table(everything, title="all recorded figures"))
    return 0


def read(suite: str) -> list[Figure]:
    record = json.loads((RESULTS / f"{suite}.json").read_text(encoding="utf-8"))
    return [Figure(**item) for item in record["figures"]]


def table(figures: dict[str, list[Figure]], title: str | None = None) -> Table:
    out = Table("suite", "figure", "value", "baseline", "ratio", "goal", "met", title=title)
    for suite, items in figures.items():
        for item in items:
            baseline = f"{item.baseline} {item.baseline_value:.4g}" if item.baseline_value is not None else ""
            ratio = "" if item.ratio is None else f"{item.ratio:.2f}"
            met = {True: "yes", False: "[red]no[/red]", None: ""}[item.met]
            out.add_row(
                suite, item.name, measured(item.value, item.unit, item.low, item.high), baseline, ratio, item.goal, met
            )
    return out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
