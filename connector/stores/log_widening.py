"""A log whose view has new fields: its parts are written anew with them, null.

Last part first: the first part, whose schema is the log's, is done when all are. A death in between is made good by the
next try, and until then readers find the old schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from connector.stores.log_journal import finish_compaction, part_name
from connector.stores.log_locks import maintaining

if TYPE_CHECKING:
    from connector.stores.offline_log import OfflineLog

BATCH_ROWS = 16_384


def wider_schema(known: pa.Schema, declared: pa.Schema) -> pa.Schema:
    """What is there, and what is declared besides. Fields that are no longer declared stay."""
    return pa.schema([*known, *(field for field in declared if field.name not in known.names)])


def part_schemas(log: OfflineLog) -> list[pa.Schema]:
    """Schemas of all parts: a writer that died, or one that did not know of a change, may have left a narrow one."""
    found = []
    for path in log.parts():
        with log.open_part(path) as part:
            found.append(part.schema_arrow.remove_metadata())
    return found


def widen(log: OfflineLog, wider: pa.Schema) -> None:
    """Write every part that lacks fields of `wider` anew."""
    with maintaining(log.files):
        finish_compaction(log.files)
        for path in reversed(log.parts()):
            with log.open_part(path) as part:
                done = part.schema_arrow.names == wider.names
            if not done:
                log.files.write(f"{part_name(path)}.parquet", lambda file, path=path: _copy(log, path, wider, file))  # type: ignore[misc]


def with_nulls(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with a null column for each field of the schema that it lacks."""
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


def _copy(log: OfflineLog, path: str, wider: pa.Schema, file: BinaryIO) -> None:
    with log.open_part(path) as part, pq.ParquetWriter(file, wider) as writer:
        for batch in part.iter_batches(batch_size=BATCH_ROWS):
            table = with_nulls(pa.Table.from_batches([batch]), wider).select(wider.names).cast(wider)
            writer.write_table(table, row_group_size=BATCH_ROWS)
