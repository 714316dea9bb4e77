"""The demo itself: catalogue → Feast repository → Triton → Feast and Milvus → questions → report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from connector import Connector
from connector.errors import ConfigurationError
from connector.ingest import open_catalogue
from connector.scaffold import Endpoints, init_repository
from connector.scaffold.shape import Shape
from examples.demo.ask import Answer, ask_catalogue, ask_shop
from examples.demo.checks import Check, Group, check, summarise
from examples.demo.report import write_report
from examples.demo.shop import SIZE, write_catalogue

MODEL_REPOSITORY = Path(__file__).resolve().parents[2] / "triton_models"
MARKER = ".connector-demo"
SHOWN_ROWS = 5_000


def run_demo(out: Path, *, catalogue: Path | None = None, key: str | None = None, goods: int = SIZE) -> int:
    """Run everything into `out` → 0, or 1 where a check against the known attributes fails."""
    console = Console()
    start = time.perf_counter()
    _empty(out)
    source = catalogue or _draw(out, goods, console)
    written = init_repository(
        out / "repository",
        catalogue=source,
        key=key,
        project="demo",
        endpoints=Endpoints(model_repository=str(MODEL_REPOSITORY)),
    )
    console.print(f"[bold]Feast repository[/bold] for {source} written to {written.folder}")
    with Connector(written.folder) as connector:
        applied = connector.apply(notice=lambda line: console.print(f"  {line}"))
        for problem in applied.problems:
            console.print(f"  [red]{problem}[/red]")
        report = connector.ingest(source, entity=written.shape.entity, key=key)
        console.print(str(report), highlight=False)
        console.print(f"Encoders: {connector.encoders.describe()}")
        counts = {name: connector.count(name) for name in connector.spaces()}
        table = _items(source)
        answers = _ask(connector, table, written.shape, drawn=catalogue is None)
    groups = summarise(answers)
    checks = check(groups)
    _print(console, answers, groups, checks)
    path = write_report(
        out / "report.html",
        title="multimodal-connector: the demo",
        summary={
            "catalogue": str(source),
            "rows": f"{report.rows:,}, ingested in {report.seconds:.1f} s",
            "spaces": ", ".join(f"{name} ({count:,} vectors)" for name, count in counts.items()),
            "whole run": f"{time.perf_counter() - start:.1f} s",
        },
        groups=groups,
        checks=checks,
        answers=answers,
        items=_shown(table, written.shape),
    )
    console.print(f"\n[bold]Report:[/bold] {path}")
    return 0 if all(item.passed for item in checks) else 1


def _empty(out: Path) -> None:
    """Start from an empty folder, but never delete one that is not the demo's own."""
    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).exists():
            raise ConfigurationError(f"{out} holds files that are not the demo's; name another folder by --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()


def _draw(out: Path, goods: int, console: Console) -> Path:
    start = time.perf_counter()
    path = write_catalogue(out / "catalogue.parquet", size=goods)
    console.print(f"[bold]{goods} goods[/bold] drawn, worded and described in {time.perf_counter() - start:.1f} s")
    return path


def _items(source: Path) -> pa.Table:
    """The first rows of the catalogue: what is asked for and shown."""
    catalogue = open_catalogue(source)
    first = next(catalogue.batches(catalogue.columns, SHOWN_ROWS), None)
    return pa.table(first.columns if first else {})


def _ask(connector: Connector, table: pa.Table, shape: Shape, *, drawn: bool) -> list[Answer]:
    if drawn:
        from examples.demo.queries import queries

        return ask_shop(connector, queries(table))
    sample = table.slice(0, 200).take(list(range(0, min(200, table.num_rows), 40)))
    return ask_catalogue(connector, sample, shape.key.column, connector.spaces())


def _shown(table: pa.Table, shape: Shape) -> dict[str, Mapping[str, Any]]:
    pictures = list(shape.media_spaces("image"))
    shown: dict[str, Mapping[str, Any]] = {}
    for row in table.to_pylist():
        image = row.get(pictures[0]) if pictures else None
        title = str(row.get(shape.text[0]) or "") if shape.text else ""
        price = row.get("price")
        shown[str(row[shape.key.column])] = {
            "title": title[:80] or str(row[shape.key.column]),
            "caption": "" if price is None else f"{price:.2f} ·",
            "image": image if isinstance(image, bytes) else None,
        }
    return shown


def _print(console: Console, answers: Sequence[Answer], groups: Sequence[Group], checks: Sequence[Check]) -> None:
    for group in groups:
        example = max((a for a in answers if a.group == group.name), key=lambda a: min(len(a.relevant), 3))
        asked = f"“{example.text}”" if example.text else "a picture"
        table = Table(
            "", "key", "score", "what", title=f"{group.name}: {asked} {example.where or ''}", title_justify="left"
        )
        for hit in example.hits[:3]:
            key = str(next(iter(hit.values())))
            mark = "" if example.recall is None else ("[green]✓[/green]" if key in example.relevant else "·")
            described = [str(value) for name, value in hit.items() if name not in ("rank", "score") and "." not in name]
            table.add_row(mark, key, f"{hit['score']:.3f}", ", ".join(described[1:6]))
        console.print(table)
    summary = Table(
        "search", "questions", "recall@10", "median", "slowest", title="All questions", title_justify="left"
    )
    for group in groups:
        recall = "–" if group.recall is None else f"{group.recall:.3f}"
        summary.add_row(
            group.name, str(group.questions), recall, f"{group.median_ms:.0f} ms", f"{group.slowest_ms:.0f} ms"
        )
    console.print(summary)
    for item in checks:
        verdict = "[green]passed[/green]" if item.passed else "[red]failed[/red]"
        console.print(f"check {item.name}: recall@10 {item.value:.3f}, goal {item.goal}: {verdict}")
