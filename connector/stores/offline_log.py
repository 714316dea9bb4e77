"""The offline log: a folder of Parquet parts that Feast reads as the source of a view, and the durable truth of it.

A part is written under a name that the glob `*.parquet` does not match and renamed when it is whole, so a reader sees
all of it or nothing; the same part name again replaces the part, so a run that is run again changes nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connector.errors import SchemaMismatchError, StoreError
from connector.spaces import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from connector.stores.durable import DurableFolder
from connector.stores.log_journal import EMPTY_PART, JOURNAL, current_parts, finish_compaction, part_name
from connector.stores.log_locks import maintaining
from connector.stores.log_widening import part_schemas, widen, wider_schema, with_nulls

if TYPE_CHECKING:
    from feast import FeatureView

PART_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)
BATCH_ROWS = 4096
COMPACT_ROWS = 262_144


class OfflineLog:
    """The log of one feature view.

    Args:
        folder: local folder, or any fsspec URL; made when first written to.
        widens: whether `ensure` adds new fields to the parts that are there, and fields that are no longer declared are
            null from then on: so for a plain view, which has no versions.
    """

    def __init__(self, folder: str | os.PathLike[str], *, widens: bool = False) -> None:
        self._widens = widens
        self.files = DurableFolder(folder)
        self.folder = self.files.url
        self._fs, self._root, self._local = self.files.filesystem, self.files.root, self.files.local
        self._schema: pa.Schema | None = None

    def append(self, table: pa.Table, part: str) -> str:
        """Write `table` as the part of that name, replacing an earlier part of the same name.

        Args:
            table: any column order; vectors as fixed-size or plain lists of float32.
            part: letters, digits, `.`, `-`, `_`; the file is `<part>.parquet`.

        Returns:
            Path or URL of the part.

        Raises:
            SchemaMismatchError: other columns or types than the parts that are there.
            StoreError: a part name with other characters, or the file cannot be written.
        """
        if not PART_NAME.fullmatch(part):
            raise StoreError(f"log {self.folder}: part name {part!r}: use letters, digits, '.', '-' and '_'")
        table = log_table(table)
        with self._while_it_stays() as known:
            if known is not None:
                table = self._conform(with_nulls(table, known) if self._widens else table, known)
            path = self.files.write(f"{part}.parquet", lambda file: pq.write_table(table, file))
            self._schema = table.schema
        if part != EMPTY_PART:
            self._drop_empty_part()
        return path

    def ensure(self, shape: pa.Schema | FeatureView) -> None:
        """Make sure that there is at least one part, if need be an empty one, so that Feast's glob finds a schema.

        Raises:
            SchemaMismatchError: the parts that are there have other columns or types.
        """
        schema = shape if isinstance(shape, pa.Schema) else log_schema(shape)
        empty = log_table(schema.empty_table())
        known = self.schema()
        if known is None:
            self.append(empty, EMPTY_PART)
        elif not self._widens:
            self._conform(empty, known)
        else:
            parts = part_schemas(self)
            wider = reduce(wider_schema, [*parts, empty.schema])
            self._conform(with_nulls(empty, wider), wider)
            if any(part.names != wider.names for part in parts):
                widen(self, wider)
                self._schema = None

    def clean(self) -> int:
        """Remove what killed runs left half written, finish a compaction that broke off → how many files went."""
        if JOURNAL in self.files.names():
            with maintaining(self.files):
                finish_compaction(self.files)
        return self.files.clean()

    def remove(self) -> None:
        """Remove the log, all of it."""
        self._schema = None
        with suppress(FileNotFoundError):
            self._fs.rm(self._root, recursive=True)

    def read(self, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Rows of every part, parts in the order of their names, at bounded memory.

        Args:
            columns: None reads all.
        """
        wanted = None if columns is None else list(columns)
        for path in self.parts():
            with self.open_part(path) as part:
                yield from part.iter_batches(batch_size=batch_rows, columns=wanted)

    def count(self) -> int:
        """Number of rows, each event of a key counted; reads no data."""
        total = 0
        for path in self.parts():
            with self.open_part(path) as part:
                total += part.metadata.num_rows
        return total

    def parts(self) -> list[str]:
        """Paths of the parts, sorted; of a compaction that broke off, what it made and not what it was made from."""
        names = self.files.names()
        return [self.files.path(name) for name in current_parts(self.files, names)]

    def part_names(self) -> list[str]:
        """Names of the parts, sorted, as they were given to `append`."""
        return [part_name(path) for path in self.parts()]

    def drop_part(self, part: str) -> None:
        """Remove one part; where it was the last, an empty one stands in for the schema."""
        schema = self.schema()
        self.files.remove(f"{part}.parquet")
        if schema is not None and not self.parts():
            self.append(schema.empty_table(), EMPTY_PART)

    def discard(self, keys: pa.Table) -> int:
        """Remove every row of these keys, part by part → rows removed. Safe to run again after a death.

        Args:
            keys: one column for each join key, in the types of the log.

        Raises:
            StoreError: a part cannot be read or written.
        """
        from connector.stores.log_rewrite import discard_keys

        return discard_keys(self, keys)

    def holding(self, keys: pa.Table) -> int:
        """Rows of these keys, which `discard` would remove; changes nothing."""
        from connector.stores.log_rewrite import count_keys

        return count_keys(self, keys)

    def compact(
        self, unfinished: Callable[[], Collection[str]] = tuple, part_rows: int = COMPACT_ROWS
    ) -> tuple[int, int]:
        """Merge small parts into large ones → parts merged, parts made. A death leaves the old ones or the new ones.

        Jobs that list the folder for themselves, as Feast's do, should not run meanwhile: a part that they have listed
        may be gone when they open it.

        Args:
            unfinished: gives the ids of runs that may still replace their parts, which are left alone; asked when the
                parts have been listed. A run that is given its id again later does not find its parts.
            part_rows: rows that a large part has.
        """
        from connector.stores.log_compaction import compact_parts

        return compact_parts(self, unfinished, part_rows)

    def schema(self) -> pa.Schema | None:
        """Schema of the parts, or None where there are none."""
        if self._schema is None:
            for path in self.parts()[:1]:
                with self.open_part(path) as part:
                    self._schema = part.schema_arrow.remove_metadata()
        return self._schema

    @contextmanager
    def _while_it_stays(self) -> Iterator[pa.Schema | None]:
        """The schema, which nobody widens meanwhile: a part in the old one would be left behind among wider ones."""
        if not self._widens:
            yield self.schema()
            return
        with maintaining(self.files):
            self._schema = None
            yield self.schema()

    def _drop_empty_part(self) -> None:
        """An empty partition among others makes dask's sort fail, so the empty part goes when a real one is there."""
        path = f"{self._root}/{EMPTY_PART}.parquet"
        with suppress(FileNotFoundError):
            self._fs.rm_file(path)

    @contextmanager
    def open_part(self, path: str) -> Iterator[Any]:
        """A part as a `pyarrow.parquet.ParquetFile`.

        Raises:
            StoreError: it cannot be read.
        """
        try:
            with self._fs.open(path, "rb") as file:
                yield pq.ParquetFile(file)
        except (OSError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise StoreError(f"log part {path} cannot be read ({reason}); remove it and ingest again") from error

    def _conform(self, table: pa.Table, known: pa.Schema) -> pa.Table:
        problem = _difference(table.schema, known)
        if problem:
            raise SchemaMismatchError(
                f"log {self.folder}: {problem}; the view has changed: give it a new version, or move the log away"
            )
        try:
            return table.select(known.names).cast(known)
        except pa.ArrowException as error:
            raise SchemaMismatchError(f"log {self.folder}: {str(error).splitlines()[0]}") from error


def log_table(table: pa.Table) -> pa.Table:
    """Columns as Feast's file source reads them: vectors as plain lists, plain strings, times in microseconds UTC.

    A row without a created time gets its event time: Feast's dask store cannot sort by a column with nulls.

    Raises:
        SchemaMismatchError: no event time.
    """
    if EVENT_TIMESTAMP not in table.column_names:
        raise SchemaMismatchError(f"log: the table has no column {EVENT_TIMESTAMP}")
    if CREATED_TIMESTAMP not in table.column_names:
        table = table.append_column(CREATED_TIMESTAMP, pa.nulls(table.num_rows, pa.timestamp("us", tz="UTC")))
    schema = pa.schema([pa.field(field.name, _log_type(field.type)) for field in table.schema])
    table = table.cast(schema, safe=False) if schema != table.schema else table.replace_schema_metadata(None)
    created = pc.coalesce(table.column(CREATED_TIMESTAMP), table.column(EVENT_TIMESTAMP))
    return table.set_column(table.column_names.index(CREATED_TIMESTAMP), CREATED_TIMESTAMP, created)


def log_schema(view: FeatureView) -> pa.Schema:
    """Schema of a view's log: join keys, features, event and created time."""
    from feast.type_map import feast_value_type_to_pa

    columns = [*view.entity_columns, *view.features]
    fields = [pa.field(column.name, feast_value_type_to_pa(column.dtype.to_value_type())) for column in columns]
    times = [pa.field(name, pa.timestamp("us", tz="UTC")) for name in (EVENT_TIMESTAMP, CREATED_TIMESTAMP)]
    return pa.schema([*fields, *times])


def _log_type(kind: pa.DataType) -> pa.DataType:
    kinds = pa.types
    if kinds.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC")
    if kinds.is_dictionary(kind):
        return _log_type(kind.value_type)
    if kinds.is_large_string(kind) or kinds.is_string_view(kind):
        return pa.string()
    if kinds.is_large_binary(kind) or kinds.is_binary_view(kind):
        return pa.binary()
    if kinds.is_fixed_size_list(kind) or kinds.is_large_list(kind) or kinds.is_list(kind):
        return pa.list_(_log_type(kind.value_type))
    return kind


def _difference(given: pa.Schema, known: pa.Schema) -> str:
    missing, extra = set(known.names) - set(given.names), set(given.names) - set(known.names)
    if missing or extra:
        return f"the table lacks columns {sorted(missing)} or has unknown ones {sorted(extra)}"
    for field in known:
        kind = given.field(field.name).type
        if kind != field.type and not pa.types.is_null(kind) and not _widens(kind, field.type):
            return f"column {field.name} is {kind}, the parts there have {field.type}"
    return ""


def _widens(given: pa.DataType, known: pa.DataType) -> bool:
    kinds = pa.types
    if kinds.is_list(given) and kinds.is_list(known):
        return given.value_type == known.value_type or _widens(given.value_type, known.value_type)
    integers = kinds.is_integer(given) and kinds.is_integer(known)
    floats = kinds.is_floating(given) and kinds.is_floating(known)
    return bool((integers or floats) and known.bit_width >= given.bit_width)
