"""Entities removed wherever the connector has put them: logs first, Milvus second.

Nothing is remembered between the steps: each of them is safe to do again, so a deletion that was killed is completed
by giving it again. Until then whatever is left in Milvus is an orphan to `reconcile`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from connector.errors import QueryError, UnknownSpaceError
from connector.ingest.dead_letters import discard_letters
from connector.ingest.run_folder import RunFolder, unfinished_runs
from connector.ingest.validate import key_hash
from connector.stores.durable import DurableFolder
from connector.stores.keys import KEY_TYPES
from connector.stores.specs import scalar_type
from connector.suggest import suggestion
from connector.upkeep.elsewhere import left_over, overwrite_elsewhere
from connector.upkeep.places import Place, places, unknown_folders
from connector.upkeep.receipts import DeletionReceipt, Removal
from connector.upkeep.rows import delete_rows
from connector.upkeep.running import hold_runs
from connector.versions.alone import alone

if TYPE_CHECKING:
    from connector.repository import Repository
    from connector.stores.offline_log import OfflineLog

INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)


def delete_entities(
    repository: Repository,
    entity: str,
    keys: Sequence[str | int],
    *,
    dead_letters: Path,
    receipts: Path,
    dry_run: bool = False,
) -> DeletionReceipt:
    """Remove entities from every space, version, plain view and log, from Feast's online store and the dead letters.

    An unfinished ingest that is carried on afterwards leaves them out; a later ingest that holds them writes them anew.

    Args:
        entity: Feast entity; rows of views over several entities go too where one of them matches.
        keys: values of its join key.
        dead_letters, receipts: folders.
        dry_run: only count what would be removed; nothing is written, no receipt either.

    Raises:
        UnknownSpaceError: no such entity.
        ConfigurationError: a promotion, prune or apply of the repository is under way, which may carry rows along.
        QueryError: no key, or one that the join key's type cannot hold.
        StoreError: an ingest is under way; or a log cannot be rewritten.
        StoreUnavailableError: Milvus does not answer. Give the deletion again to complete it.
    """
    name, asked = _keys(repository, entity, keys)
    with nullcontext() if dry_run else alone(repository):
        receipt = _delete(repository, entity, name, asked, dead_letters, receipts, dry_run)
    if not dry_run:
        receipt.write(receipts)
    return receipt


def _delete(
    repository: Repository,
    entity: str,
    name: str,
    asked: pa.Table,
    dead_letters: Path,
    receipts: Path,
    dry_run: bool,
) -> DeletionReceipt:
    found, views = places(repository, entity, asked.schema.field(0))
    repository.vector_store.list_collections()  # nothing is removed anywhere while Milvus does not answer
    removals: list[Removal] = []
    shown = [str(key) for key in asked.column(0).to_pylist()]
    logs = [place.log.folder for place in found if place.log is not None]
    with _looked_at(logs) if dry_run else hold_runs(logs) as runs:
        if not dry_run:
            for folder in (dead_letters, receipts):
                DurableFolder(folder).clean()
            for run in runs:
                run.add_deleted(frozenset(key_hash(key) for key in shown))
        for place in found:
            if place.log is not None:
                rows = place.log.holding(asked) if dry_run else _from_log(place.log, asked)
                removals.append(Removal("offline log", place.log.folder, place.view, place.version, rows))
        for place in found:
            removals += _from_milvus(repository, place, name, asked, dry_run)
        removals += overwrite_elsewhere(repository, views, name, asked, dry_run=dry_run)
        others = frozenset(repository.snapshot().views) - {str(view.name) for view in views}
        rows = discard_letters(dead_letters, runs, shown, others, dry_run=dry_run)
        removals.append(Removal("dead letters", str(dead_letters), rows=rows))
    receipt = DeletionReceipt(
        entity, asked.column(0).to_pylist(), datetime.now(timezone.utc), removals, carried_out=not dry_run
    )
    receipt.remains = left_over(repository, views, name) + unknown_folders(repository, found, asked)
    return receipt


@contextmanager
def _looked_at(logs: Sequence[str]) -> Iterator[list[RunFolder]]:
    """Unfinished runs as they are; one that is under way goes on."""
    yield [run for log in dict.fromkeys(logs) for run in unfinished_runs(log)]


def _from_log(log: OfflineLog, asked: pa.Table) -> int:
    log.clean()
    return log.discard(asked)


def _from_milvus(repository: Repository, place: Place, key: str, asked: pa.Table, dry_run: bool) -> list[Removal]:
    if not place.collection:
        return []
    spec = repository.vector_store.describe(place.collection)
    if spec is None:
        return []
    rows = delete_rows(repository.vector_store, spec, key, asked, dry_run=dry_run)
    return [Removal("milvus", spec.name, place.view, place.version, rows)]


def _keys(repository: Repository, entity: str, keys: Sequence[str | int]) -> tuple[str, pa.Table]:
    """Name of the join key, and the keys as its type has them, each once."""
    store = repository.feature_store
    repository.snapshot()
    known = {each.name: each for each in store.registry.list_entities(store.project)}
    if entity not in known:
        raise UnknownSpaceError(f"no entity {entity!r} in {repository.path}: {suggestion(entity, known)}")
    if not keys:
        raise QueryError(f"entity {entity}: no key was given to delete")
    found = known[entity]
    name = str(found.join_key)
    kind = scalar_type(str(_dtype(found)))
    if kind not in KEY_TYPES:
        raise QueryError(f"entity {entity}: its join key {name} is neither a string nor an integer")
    values: dict[Any, None] = {}
    for key in keys:
        try:
            value = pa.scalar(_whole(key) if kind == "int64" else str(key), KEY_TYPES[kind]).as_py()
        except (ValueError, OverflowError, pa.ArrowException) as error:
            raise QueryError(f"entity {entity}: key {key!r} is no integer, which {name} is") from error
        values[value] = None
    return name, pa.table({name: pa.array(list(values), KEY_TYPES[kind])})


def _whole(key: Any) -> int:
    """Python reads `1_000`, 1.9, True and digits of every script as integers; nobody means those as a key to delete."""
    if isinstance(key, int) and not isinstance(key, bool):
        return key
    if isinstance(key, str) and INTEGER.fullmatch(key):
        return int(key)
    raise ValueError(key)


def _dtype(entity: Any) -> Any:
    from feast.types import from_value_type

    return from_value_type(entity.value_type)
