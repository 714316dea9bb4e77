"""What makes two starts the same run: the same catalogue, to the same views, under the same arguments."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from connector.ingest.files import CatalogueFile
from connector.ingest.preflight import Plan

FORMAT = 1
# Whatever a file system tells of a file that changes when the file does; a size alone does not.
_MARKS = ("mtime", "etag", "ETag", "e_tag", "LastModified", "last_modified", "md5Hash", "content_md5", "generation")
_LATER_MARKS = ("updated", "created")


def fingerprint(files: Sequence[CatalogueFile]) -> list[list[Any]] | None:
    """Path, size and time or tag of every file; None where a file system tells too little to notice a change."""
    found = []
    for file in files:
        try:
            info = file.filesystem.info(file.path)
        except (OSError, ValueError):
            return None
        marks = {name: str(info[name]) for name in _MARKS if info.get(name)}
        marks = marks or {name: str(info[name]) for name in _LATER_MARKS if info.get(name)}
        if not marks or info.get("size") is None:
            return None
        found.append([file.path, int(info["size"]), marks])
    return found


def run_identity(files: list[list[Any]] | None, plans: Sequence[Plan], arguments: Mapping[str, Any]) -> str | None:
    """32 hexadecimal digits, the same exactly for what may be carried on; None for a catalogue in memory.

    Args:
        files: the catalogue's fingerprint.
        arguments: everything else that decides what is written, as JSON values.
    """
    if files is None:
        return None
    record = {"format": FORMAT, "files": files, "targets": [_target(plan) for plan in plans], **arguments}
    text = json.dumps(record, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _target(plan: Plan) -> dict[str, Any]:
    target, space = plan.target, plan.target.space
    return {
        "name": target.name,
        "key": [target.join_key.name, target.join_key.dtype],
        "fields": [[field.name, field.dtype] for field in target.fields],
        "collection": target.collection,
        "log": target.log.folder,
        "contract": None if space is None else space.contract.hash,
        "inputs": None if space is None else [space.input_kind, *space.inputs],
        "missing": None if space is None else [space.missing, space.parts, *(query.hash for query in space.queries)],
        "columns": list(plan.columns),
    }
