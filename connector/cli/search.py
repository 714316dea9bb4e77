"""`connector search`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from connector.cli.options import JsonOption, RepoOption, opened, pairs
from connector.cli.output import note, print_json, print_rows
from connector.errors import QueryError

if TYPE_CHECKING:
    from connector.config import Settings

VECTOR_LIMIT = 1024 * 1024


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("search")
    def search(
        spaces: Annotated[list[str], typer.Argument(help="Spaces to search, each as NAME or NAME=WEIGHT.")],
        text: Annotated[str | None, typer.Option("--text", "-t", help="Words to look for.")] = None,
        image: Annotated[Path | None, typer.Option("--image", "-i", help="Picture to look for.")] = None,
        audio: Annotated[Path | None, typer.Option("--audio", help="Sound to look for.")] = None,
        video: Annotated[Path | None, typer.Option("--video", help="Film to look for.")] = None,
        history: Annotated[
            list[str] | None, typer.Option(help="Key of an item that a user has had, oldest first; may repeat.")
        ] = None,
        item: Annotated[
            str | None, typer.Option("--item", help="Key of a stored item to look for others like it.")
        ] = None,
        vector: Annotated[Path | None, typer.Option(help="Ready vector: a .json list or .npy file.")] = None,
        k: Annotated[int, typer.Option("-k", help="How many.")] = 10,
        where: Annotated[str | None, typer.Option("--where", "-w", help='SQL condition, e.g. "price < 50".')] = None,
        fusion: Annotated[Literal["rrf", "score"], typer.Option(help="How several spaces are fused.")] = "rrf",
        feature: Annotated[
            list[str] | None, typer.Option(help="Feast feature VIEW:FEATURE to join; may repeat.")
        ] = None,
        field: Annotated[
            list[str] | None, typer.Option(help="Carried field to return; may repeat. Default: all.")
        ] = None,
        param: Annotated[list[str] | None, typer.Option(help="Index search parameter NAME=NUMBER; may repeat.")] = None,
        repo: RepoOption = Path(),
        as_json: JsonOption = False,
    ) -> None:
        """Search one space or several: by words, a picture, a sound, a film, a history, a stored item or a vector."""
        weights = _weights(spaces)
        params = {name: _number(value) for name, value in pairs(param or [], "--param").items()}
        ready = None if vector is None else _vector(vector)
        with opened(repo, settings=_settings(repo)) as connector:
            started = time.perf_counter()
            table = connector.search(
                weights,
                text=text,
                image=image,
                audio=audio,
                video=video,
                history=history or None,
                vector=ready,
                item_id=item,
                k=k,
                where=where,
                fusion=fusion,
                features=feature or (),
                fields=field,
                search_params=params or None,
            )
            seconds = time.perf_counter() - started
        rows = table.to_pylist()
        if as_json:
            print_json(rows)
            return
        key, *others = table.column_names
        print_rows(rows, ["rank", key, *(name for name in others if name != "rank")])
        note(f"{len(rows)} found in {seconds:.2f} s")


def _settings(repo: Path) -> Settings:
    """As configured; but no server is started for the sake of one query, which this process encodes in less time."""
    from connector.config import load_settings
    from connector.serving.state import running_triton

    settings = load_settings(repo)
    triton = settings.triton
    if triton.mode == "auto" and triton.url is None and running_triton(repo) is None:
        triton.mode = "process"
    return settings


def _weights(spaces: list[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for each in spaces:
        name, equals, weight = each.partition("=")
        try:
            weights[name] = float(weight) if equals else 1.0
        except ValueError as error:
            raise typer.BadParameter(f"{each!r}: the weight is not a number", param_hint="SPACES") from error
    return weights


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _vector(file: Path) -> Any:
    import numpy as np

    try:
        if file.stat().st_size > VECTOR_LIMIT:
            raise QueryError(f"vector {str(file)!r} is larger than {VECTOR_LIMIT} bytes")
        if file.suffix == ".npy":
            return np.load(file, allow_pickle=False)
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise QueryError(f"vector {str(file)!r} cannot be read: {reason}") from error
