"""The vector store on Milvus: Milvus Lite and servers from 2.3 on, by `MilvusClient` alone."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import pyarrow as pa

from connector.errors import FilterError, QueryError, StoreError, StoreUnavailableError
from connector.stores import results
from connector.stores.admin import Known
from connector.stores.base import CollectionSpec, VectorStore, WriteResult
from connector.stores.columns import read_columns, require_good
from connector.stores.connection import MilvusEndpoint, translated
from connector.stores.filters import Filter, to_milvus
from connector.stores.filters.milvus import quote
from connector.stores.keys import encode_keys
from connector.stores.layout import CREATED, EVENT, KEY, filter_column, filter_types, null_marks, vector_column
from connector.stores.queries import check_k, query_vectors, search_params, search_schema
from connector.stores.recency import Moment, Recency
from connector.stores.rows import batches, newest_rows
from connector.stores.session import IN_FLIGHT, Session

T = TypeVar("T")
KEYS_AT_ONCE = 1000


class MilvusVectorStore(VectorStore):
    """Collections in Milvus. Connects on first use.

    Safe to call from several threads; writes to one collection are made one at a time. What this process has written
    is seen by its own reads at every consistency level: the first read after a write is a strong one.

    Args:
        endpoint: where Milvus is; a string is its URI.
    """

    def __init__(self, endpoint: MilvusEndpoint | str) -> None:
        self._endpoint = MilvusEndpoint(endpoint) if isinstance(endpoint, str) else endpoint
        self._timeout = self._endpoint.timeout_s
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._writers: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._recency = Recency(self._any, self._moments)
        self._written: defaultdict[str, int] = defaultdict(int)
        self._noticed: defaultdict[str, int] = defaultdict(int)

    def create(self, spec: CollectionSpec, record: str = "") -> None:
        if self._opened().admin.create(spec, record):
            self._recency.begin(spec.name)

    def describe(self, name: str) -> CollectionSpec | None:
        known = self._opened().admin.find(name, refresh=True)
        return None if known is None else known.spec

    def record(self, name: str) -> str:
        known = self._opened().admin.find(name)
        return "" if known is None else known.record

    def drop(self, name: str) -> None:
        with self._writer(name):
            self._opened().admin.drop(name)
            self._recency.forget(name)

    def list_collections(self) -> list[str]:
        return self._opened().admin.names()

    def set_alias(self, alias: str, collection: str) -> None:
        self._opened().admin.set_alias(alias, collection)

    def resolve_alias(self, alias: str) -> str | None:
        return self._opened().admin.resolve_alias(alias)

    def write(self, name: str, rows: pa.Table) -> WriteResult:
        return self._with(name, lambda known: self._write(known, rows), moving=True)

    def read(self, name: str, keys: pa.Table, columns: Sequence[str]) -> pa.Table:
        return self._with(name, lambda known: self._read(known, keys, columns))

    def search(
        self,
        name: str,
        vectors: Any,
        k: int,
        *,
        where: Filter | None = None,
        columns: Sequence[str] = (),
        params: dict[str, Any] | None = None,
    ) -> pa.Table:
        check_k(k)
        return self._with(name, lambda known: self._search(known, vectors, k, where, columns, params))

    def delete(self, name: str, keys: pa.Table) -> int:
        return self._with(name, lambda known: self._delete(known, keys), moving=True)

    def count(self, name: str) -> int:
        return self._with(name, self._count)

    def close(self) -> None:
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def __enter__(self) -> MilvusVectorStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _opened(self) -> Session:
        session = self._session
        if session is not None:
            return session
        with self._lock:
            if self._session is None:
                self._session = Session(self._endpoint)
            return self._session

    def _with(self, name: str, action: Callable[[Known], T], *, moving: bool = False) -> T:
        """Run `action` on the collection; once more if what was known of it turns out to be out of date.

        Args:
            moving: ask Milvus first where an alias points, since a write must not follow an old one.
        """
        admin = self._opened().admin
        known = admin.find(name)
        if known is None or (moving and known.by_alias):
            known = admin.find(name, refresh=True)
        if known is None:
            raise StoreError(f"there is no collection or alias {name} in Milvus; run `connector apply`")
        try:
            return action(known)
        except StoreUnavailableError:
            raise
        except (StoreError, QueryError, FilterError):
            again = admin.find(name, refresh=True)
            if again is None:
                raise StoreError(f"collection {name} is no longer in Milvus; run `connector apply`") from None
            if again == known:
                raise
            return action(again)

    def _write(self, known: Known, rows: pa.Table) -> WriteResult:
        columns = read_columns(known.spec, rows)
        require_good(known.spec, columns)
        if rows.num_rows == 0:
            return WriteResult()
        with self._writer(known.name):
            chosen = self._recency.fresh(known.name, columns, newest_rows(columns))
            if len(chosen):
                try:
                    self._upsert(known, batches(known.spec, columns, chosen))
                finally:
                    self._written[known.name] += 1
        return WriteResult(written=len(chosen), stale=rows.num_rows - len(chosen))

    def _upsert(self, known: Known, parts: Iterator[list[dict[str, Any]]]) -> None:
        """Several batches are under way at once; their keys differ, so their order does not matter."""
        session = self._opened()

        def send(part: list[dict[str, Any]]) -> None:
            with translated(f"write to {known.name}"):
                session.client.upsert(known.physical, part, timeout=self._timeout)

        first, second = next(parts), next(parts, None)
        if second is None:
            return send(first)
        under_way: deque[Future[None]] = deque((session.pool.submit(send, first), session.pool.submit(send, second)))
        try:
            for part in parts:
                if len(under_way) >= IN_FLIGHT:
                    under_way.popleft().result()
                under_way.append(session.pool.submit(send, part))
        finally:
            errors = [error for future in under_way if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return None

    def _read(self, known: Known, keys: pa.Table, columns: Sequence[str]) -> pa.Table:
        spec = known.spec
        asked = encode_keys(spec, keys)
        wanted = list(dict.fromkeys((KEY, EVENT, *results.output_fields(spec, columns))))
        present = list(dict.fromkeys(key for key in asked if key is not None))
        return results.read_table(spec, asked, self._rows(known.target, known.name, present, wanted), columns)

    def _search(
        self,
        known: Known,
        vectors: Any,
        k: int,
        where: Filter | None,
        columns: Sequence[str],
        params: dict[str, Any] | None,
    ) -> pa.Table:
        spec = known.spec
        if spec.vector is None:
            raise QueryError(f"collection {spec.name} has no vector to search by")
        queries = query_vectors(spec.vector, vectors)
        expression = self._expression(spec, where)
        wanted = results.output_fields(spec, columns)
        if len(queries) == 0:
            return results.empty_search_table(spec, columns)
        level, mark = self._level(known.name)
        with translated(f"search {known.asked}"):
            answer = self._opened().client.search(
                known.target,
                data=[query.tobytes() for query in queries],  # pymilvus packs bytes without a look at each number
                anns_field=vector_column(spec),
                schema=search_schema(spec),
                filter=expression,
                limit=int(k),
                output_fields=wanted,
                search_params=search_params(spec.vector, int(k), params),
                timeout=self._timeout,
                consistency_level=level,
            )
        self._noticed[known.name] = mark
        if not any(len(hits) for hits in answer):
            return results.empty_search_table(spec, columns)
        return results.search_table(spec, answer, columns)

    def _delete(self, known: Known, keys: pa.Table) -> int:
        asked = [key for key in encode_keys(known.spec, keys) if key is not None]
        with self._writer(known.name):
            for some in _chunks(list(dict.fromkeys(asked))):
                with translated(f"delete in {known.name}"):
                    self._opened().client.delete(known.physical, filter=_among(some), timeout=self._timeout)
                self._written[known.name] += 1
        return len(asked)

    def _count(self, known: Known) -> int:
        answer = self._query(known.target, "", ["count(*)"], "Strong")
        return int(answer[0]["count(*)"])

    def _expression(self, spec: CollectionSpec, where: Filter | None) -> str:
        if where is None:
            return ""
        declared = filter_types(spec)
        for field in where.fields:
            if declared.get(field) != where.types[field]:
                known = ", ".join(sorted(declared))
                raise FilterError(f"collection {spec.name}: cannot filter on {field!r}; it declares {known}")
        marks = null_marks(spec)
        return to_milvus(
            where,
            column=lambda name: filter_column(spec, name),
            null_test=lambda name, null: marks[name].condition(null) if name in marks else None,
            like=self._opened().matches_patterns,
        )

    def _rows(self, target: str, name: str, keys: Sequence[str], wanted: list[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        level, mark = self._level(name)
        for some in _chunks(keys):
            rows.extend(self._query(target, _among(some), wanted, level))
        if keys:
            self._noticed[name] = mark
        return rows

    def _query(self, target: str, expression: str, wanted: list[str], level: str, **options: Any) -> Any:
        with translated(f"read {target}"):
            return list(
                self._opened().client.query(
                    target,
                    filter=expression,
                    output_fields=wanted,
                    timeout=self._timeout,
                    consistency_level=level,
                    **options,
                )
            )

    def _any(self, name: str, expression: str, strong: bool) -> bool:
        physical = self._endpoint.prefix + name
        return bool(self._query(physical, expression, [KEY], "Strong" if strong else "Eventually", limit=1))

    def _moments(self, name: str, keys: list[str]) -> dict[str, Moment]:
        rows = self._rows(self._endpoint.prefix + name, name, keys, [KEY, EVENT, CREATED])
        return {row[KEY]: (row[EVENT], row[CREATED]) for row in rows}

    def _level(self, name: str) -> tuple[str, int]:
        """Consistency for a read, and the count of own writes that it will have seen."""
        mark = self._written[name]
        return ("Strong" if mark > self._noticed[name] else self._endpoint.consistency), mark

    def _writer(self, name: str) -> threading.RLock:
        with self._lock:
            return self._writers[name]


def _among(keys: Sequence[str]) -> str:
    return f"{KEY} in [{', '.join(quote(key) for key in keys)}]"


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), KEYS_AT_ONCE):
        yield keys[start : start + KEYS_AT_ONCE]
