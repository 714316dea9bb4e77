"""`connector delete`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from connector.cli.options import JsonOption, RepoOption, opened
from connector.cli.output import note, print_json, print_rows


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("delete")
    def delete(
        entity: Annotated[list[str], typer.Option("--entity", "-e", help="ENTITY=KEY, as item=sku-1; may repeat.")],
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be removed where.")] = False,
        repo: RepoOption = Path(),
        as_json: JsonOption = False,
    ) -> None:
        """Remove entities from every space, version, log and view, and print a receipt of what was removed where.

        There is no undoing it. Killed in between, it is completed by giving it again.
        """
        with opened(repo) as connector:
            receipts = [connector.delete(name, keys, dry_run=dry_run) for name, keys in _keys(entity).items()]
        if as_json:
            print_json([receipt.to_dict() for receipt in receipts])
            return
        for receipt in receipts:
            rows: list[dict[str, Any]] = [vars(removal) for removal in receipt.removals]
            done = "deleted" if receipt.carried_out else "would be deleted"
            title = f"{receipt.entity}: {len(receipt.keys)} {done}, {receipt.rows:,} rows"
            print_rows(rows, ["where", "view", "version", "rows", "place"], title=title)
            for line in receipt.remains:
                note(line)
            note(f"receipt: {receipt.path}" if receipt.carried_out else "nothing was removed")


def _keys(given: list[str]) -> dict[str, list[str | int]]:
    found: dict[str, list[str | int]] = {}
    for each in given:
        name, equals, key = each.partition("=")
        if not equals or not name or not key:
            raise typer.BadParameter(f"{each!r} is not of the form ENTITY=KEY", param_hint="--entity")
        found.setdefault(name, []).append(key)
    return found
