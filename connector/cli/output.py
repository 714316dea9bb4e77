"""What commands print: JSON for scripts, tables for people."""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

PIPE_WIDTH = 200


def print_json(value: Any) -> None:
    """One JSON document on standard output; NaN and infinities become null, bytes base64, times ISO 8601."""
    sys.stdout.write(json.dumps(_plain(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], title: str | None = None) -> None:
    """A table on standard output, cells cut to the width of the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    materialised = list(rows)
    for name in columns:
        numeric = all(isinstance(row.get(name), int | float | None) for row in materialised)
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="ellipsis", no_wrap=True)
    for row in materialised:
        table.add_row(*(Text(_cell(row.get(name))) for name in columns))
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print(table)


def note(line: str) -> None:
    """A line on standard error."""
    print("\n".join(_printable(part) for part in line.split("\n")), file=sys.stderr)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(each) for each in value)
    return _printable(" ".join(str(value).split()))


def _printable(text: str) -> str:
    """Without control characters: what a catalogue holds must not write to a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)
