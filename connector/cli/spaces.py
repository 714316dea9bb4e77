"""`connector spaces`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from connector.cli.options import JsonOption, RepoOption, opened
from connector.cli.output import print_json, print_rows


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("spaces")
    def spaces(
        repo: RepoOption = Path(),
        count: Annotated[bool, typer.Option("--count", help="Ask Milvus for the number of rows.")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """List the embedding spaces that the Feast registry declares."""
        with opened(repo) as connector:
            rows: list[dict[str, Any]] = [
                {
                    "name": space.name,
                    "entity": space.entity,
                    "key": space.join_key.name,
                    "modality": space.contract.modality,
                    "dimension": space.contract.dimension,
                    "metric": space.contract.metric,
                    "encoder": space.contract.label,
                    "queried_by": list(dict.fromkeys(contract.modality for contract in space.queries)),
                    "inputs": list(space.inputs),
                    "fields": [field.name for field in space.fields],
                    "collection": space.collection,
                    **({"rows": connector.count(space.name)} if count else {}),
                }
                for _, space in sorted(connector.spaces().items())
            ]
        if as_json:
            print_json(rows)
            return
        shown = ["name", "entity", "modality", "dimension", "metric", "encoder", "queried_by", "inputs", "fields"]
        print_rows(rows, [*shown, *(["rows"] if count else [])])
