"""The one moment of a compaction: a journal that says which parts stand for which.

Several files cannot be swapped in one step. So the merged parts are written under hidden names first; then the journal
is written, whole or not at all, and from that moment the merged parts are the log and the old ones are not. Only then
are files renamed and removed; a death in between leaves the journal, and the next who comes finishes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from connector.errors import StoreError
from connector.stores.durable import DurableFolder

JOURNAL = ".compaction.json"
EMPTY_PART = "0-schema"
"""Stands in for the schema while there is no other part."""
FORMAT = 1


def hidden(part: str) -> str:
    """File of a merged part before it is shown."""
    return f".{part}.merged"


def write_journal(files: DurableFolder, new: str, old: Sequence[str]) -> None:
    """Let the merged part `new` stand for the parts `old`: names without `.parquet`."""
    text = json.dumps({"format": FORMAT, "new": new, "old": list(old)})
    files.write(JOURNAL, lambda file: file.write(text.encode()))


def read_journal(files: DurableFolder) -> tuple[str, list[str]] | None:
    """Merged part and the parts that it stands for, or None where no compaction broke off.

    Raises:
        StoreError: the journal is not one.
    """
    data = files.read(JOURNAL)
    if data is None:
        return None
    try:
        record = json.loads(data)
        if record["format"] != FORMAT:
            raise ValueError("another format")
        return str(record["new"]), [str(name) for name in record["old"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{files.path(JOURNAL)} cannot be read ({error}); restore it from a backup") from error


def part_name(path: str) -> str:
    """Name of the part at a path, as it was given when it was written."""
    return path.rsplit("/", 1)[-1].removesuffix(".parquet")


def current_parts(files: DurableFolder, names: Sequence[str]) -> list[str]:
    """Files of a log's folder that are its parts, sorted by the names of the parts."""
    parts = {name.removesuffix(".parquet"): name for name in names if _is_part(name)}
    journal = read_journal(files) if JOURNAL in names else None
    if journal is not None:
        new, old = journal
        for part in old:
            parts.pop(part, None)
        if hidden(new) in names:
            parts[new] = hidden(new)
    return [parts[part] for part in sorted(parts)]


def finish_compaction(files: DurableFolder) -> None:
    """Carry out what a journal says; without one, a no-op. Done twice, it is as done once."""
    names = files.names()
    if JOURNAL not in names:
        return
    journal = read_journal(files)
    if journal is None:
        return
    new, old = journal
    if hidden(new) in names:
        files.move(hidden(new), f"{new}.parquet")
    for part in old:
        files.remove(f"{part}.parquet")
    files.remove(JOURNAL)


def _is_part(name: str) -> bool:
    return name.endswith(".parquet") and not name.startswith(".")
