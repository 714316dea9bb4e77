"""Small parts of an offline log merged into large ones, a row group at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

import pyarrow.parquet as pq

from connector.stores.log_journal import EMPTY_PART, finish_compaction, hidden, part_name, write_journal
from connector.stores.log_locks import maintaining

if TYPE_CHECKING:
    from connector.stores.offline_log import OfflineLog

GROUP_ROWS = 16_384
PART_BYTES = 256 * 1024 * 1024


def compact_parts(log: OfflineLog, unfinished: Callable[[], Collection[str]], part_rows: int) -> tuple[int, int]:
    """See `OfflineLog.compact`."""
    with maintaining(log.files):
        finish_compaction(log.files)
        remove_abandoned(log)
        merged = made = 0
        for group in _groups(log, unfinished, part_rows):
            name = _new_name(group)
            log.files.write(hidden(name), lambda file, group=group: _merge(log, group, file))  # type: ignore[misc]
            write_journal(log.files, name, group)
            finish_compaction(log.files)
            merged, made = merged + len(group), made + 1
        return merged, made


def _groups(log: OfflineLog, unfinished: Callable[[], Collection[str]], part_rows: int) -> list[list[str]]:
    """Neighbouring parts that together make one large part; two at least."""
    groups: list[list[str]] = [[]]
    rows = size = 0
    parts = log.parts()  # before the runs are asked for: one that begins later has no part among these
    left = (*(f"{run}-" for run in unfinished()), EMPTY_PART)
    for path in parts:
        part = part_name(path)
        if part.startswith(left):
            continue
        with log.open_part(path) as opened:
            count = opened.metadata.num_rows
            width = sum(opened.metadata.row_group(at).total_byte_size for at in range(opened.metadata.num_row_groups))
        if count >= part_rows // 2 or width >= PART_BYTES // 2:
            continue
        if groups[-1] and (rows + count > part_rows or size + width > PART_BYTES):
            groups.append([])
            rows = size = 0
        groups[-1].append(part)
        rows, size = rows + count, size + width
    return [group for group in groups if len(group) > 1]


def _new_name(group: Sequence[str]) -> str:
    """Sorts where its first part did, and is no part's name already: that one is among those that go."""
    return f"{group[0][:150]}-to-{len(group)}"


def _merge(log: OfflineLog, group: Sequence[str], file: BinaryIO) -> None:
    schema = log.schema()
    with pq.ParquetWriter(file, schema) as writer:
        for part in group:
            with log.open_part(log.files.path(f"{part}.parquet")) as opened:
                for batch in opened.iter_batches(batch_size=GROUP_ROWS):
                    writer.write_batch(batch.cast(schema), row_group_size=GROUP_ROWS)


def remove_abandoned(log: OfflineLog) -> None:
    """Merged parts without a journal: a compaction died before its moment."""
    for name in log.files.names():
        if name.startswith(".") and name.endswith(".merged"):
            with suppress(FileNotFoundError):
                log.files.remove(name)
