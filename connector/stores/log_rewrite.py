"""Rows of given keys taken out of an offline log; only parts that hold one are written anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connector.errors import SchemaMismatchError
from connector.stores.log_compaction import remove_abandoned
from connector.stores.log_journal import EMPTY_PART, finish_compaction, part_name
from connector.stores.log_locks import maintaining

if TYPE_CHECKING:
    from connector.stores.offline_log import OfflineLog

BATCH_ROWS = 16_384


def discard_keys(log: OfflineLog, keys: pa.Table) -> int:
    """See `OfflineLog.discard`."""
    fitting = _typed(log, keys)
    if fitting is None:
        return 0
    keys, removed = fitting, 0
    with maintaining(log.files):
        finish_compaction(log.files)
        remove_abandoned(log)  # copies of rows, that nobody reads and that must go with them
        for path in log.parts():
            part = part_name(path)
            if part == EMPTY_PART:  # it goes when the first real one comes
                continue
            found, rows = _holds(log, path, keys)
            if found == 0:
                continue
            if found == rows:
                log.drop_part(part)
            else:
                log.files.write(f"{part}.parquet", lambda file, path=path: _copy(log, path, keys, file))  # type: ignore[misc]
            removed += found
    return removed


def count_keys(log: OfflineLog, keys: pa.Table) -> int:
    """See `OfflineLog.holding`."""
    fitting = _typed(log, keys)
    if fitting is None:
        return 0
    return sum(_holds(log, path, fitting)[0] for path in log.parts() if part_name(path) != EMPTY_PART)


def _typed(log: OfflineLog, keys: pa.Table) -> pa.Table | None:
    """Keys in the types of the log; None where there is nothing to look for, or nowhere to look."""
    schema = log.schema()
    if schema is None or keys.num_rows == 0:
        return None
    missing = set(keys.column_names) - set(schema.names)
    if missing:
        raise SchemaMismatchError(f"log {log.folder} has no key column {', '.join(sorted(missing))}")
    return keys.cast(pa.schema([schema.field(name) for name in keys.column_names]))


def _holds(log: OfflineLog, path: str, keys: pa.Table) -> tuple[int, int]:
    """How many of a part's rows have one of the keys, and how many rows it has; only key columns are read."""
    names = keys.column_names
    found = 0
    with log.open_part(path) as part:
        groups = [at for at in range(part.metadata.num_row_groups) if _may_hold(part.metadata.row_group(at), keys)]
        if groups:
            for batch in part.iter_batches(batch_size=BATCH_ROWS, row_groups=groups, columns=names):
                found += int(_chosen(batch, keys).sum())
        return found, part.metadata.num_rows


def _may_hold(group: Any, keys: pa.Table) -> bool:
    """Whether a row group's statistics leave room for one of the keys."""
    for at in range(group.num_columns):
        column = group.column(at)
        if column.path_in_schema not in keys.column_names:
            continue
        statistics = column.statistics
        if statistics is None or not statistics.has_min_max:
            continue
        asked = keys.column(column.path_in_schema)
        try:
            inside = pc.and_(pc.greater_equal(asked, statistics.min), pc.less_equal(asked, statistics.max))
        except (pa.ArrowException, TypeError):
            continue
        if not pc.any(inside).as_py():
            return False
    return True


def _copy(log: OfflineLog, path: str, keys: pa.Table, file: BinaryIO) -> None:
    with log.open_part(path) as part, pq.ParquetWriter(file, part.schema_arrow.remove_metadata()) as writer:
        for batch in part.iter_batches(batch_size=BATCH_ROWS):
            kept = batch.filter(pa.array(~_chosen(batch, keys)))
            if kept.num_rows:
                writer.write_batch(kept, row_group_size=BATCH_ROWS)


def _chosen(batch: pa.RecordBatch, keys: pa.Table) -> Any:
    """bool [n]: rows with one of the keys."""
    names: Sequence[str] = keys.column_names
    if len(names) == 1:
        return np.asarray(pc.is_in(batch.column(names[0]), keys.column(0).combine_chunks()).fill_null(False))
    asked = set(zip(*(column.to_pylist() for column in keys.columns), strict=True))
    rows = zip(*(batch.column(name).to_pylist() for name in names), strict=True)
    return np.fromiter((row in asked for row in rows), dtype=bool, count=batch.num_rows)
