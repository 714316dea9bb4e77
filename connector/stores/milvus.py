"""The vector store on Milvus: Milvus Lite and servers from 2.3 on, by `MilvusClient` alone."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pyarrow as pa

from connector.errors import FilterError, MissingCollectionError, QueryError, StoreError, StoreUnavailableError
from connector.stores import results
from connector.stores.admin import Known
from connector.stores.base import CollectionSpec, VectorStore, WriteResult
from connector.stores.capabilities import within
from connector.stores.connection import MilvusEndpoint, translated
from connector.stores.filters import Filter
from connector.stores.filters.milvus import quote
from connector.stores.keys import encode_keys
from connector.stores.layout import CREATED, EVENT, KEY
from connector.stores.queries import check_k
from connector.stores.recency import OLDEST, Recency
from connector.stores.retry import Effort
from connector.stores.scan import BATCH_ROWS, scan_pages
from connector.stores.searching import by_vector, by_words, expression
from connector.stores.session import Session
from connector.stores.watermark import Moment, Watermark, now
from connector.stores.writing import Writing

T = TypeVar("T")
KEYS_AT_ONCE = 1000
LEAST_S = 1.0
"""Seconds that even the last attempt of an effort is given."""


class MilvusVectorStore(VectorStore):
    """Collections in Milvus. Connects on first use.

    Safe to call from several threads; writes to one collection are made one at a time. What this process has written
    is seen by its own reads at every consistency level: the first read after a write is a strong one.

    Args:
        endpoint: where Milvus is; a string is its URI.
    """

    def __init__(self, endpoint: MilvusEndpoint | str) -> None:
        self._endpoint = MilvusEndpoint(endpoint) if isinstance(endpoint, str) else endpoint
        self._efforts = threading.local()
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._recency = Recency(self._any, self._moments)
        self._written: defaultdict[str, int] = defaultdict(int)
        self._noticed: defaultdict[str, int] = defaultdict(int)

    def create(self, spec: CollectionSpec, record: str = "") -> None:
        session = self._opened()
        spec, _ = within(spec, session.capabilities)
        if self._kept_at(lambda: session.admin.create(spec, record)):
            self._begin(session, spec.name)

    def fitted(self, spec: CollectionSpec) -> tuple[CollectionSpec, list[str]]:
        return within(spec, self._opened().capabilities)

    def describe(self, name: str) -> CollectionSpec | None:
        known = self._kept_at(lambda: self._opened().admin.find(name, refresh=True))
        return None if known is None else known.spec

    def record(self, name: str) -> str:
        known = self._kept_at(lambda: self._opened().admin.find(name))
        return "" if known is None else known.record

    def drop(self, name: str) -> None:
        session = self._opened()

        def drop() -> None:
            with session.marks.hold(self._endpoint.prefix + name) as record:
                session.admin.drop(name)
                record.forget()

        self._kept_at(drop)

    def list_collections(self) -> list[str]:
        return self._kept_at(self._opened().admin.names)

    def set_alias(self, alias: str, collection: str) -> None:
        self._kept_at(lambda: self._opened().admin.set_alias(alias, collection))

    def resolve_alias(self, alias: str) -> str | None:
        return self._kept_at(lambda: self._opened().admin.resolve_alias(alias))

    def write(self, name: str, rows: pa.Table) -> WriteResult:
        effort = Effort(self._endpoint.patience_s)
        work = Writing(rows, effort.progressed)
        self._with(name, lambda known: self._write(known, work), moving=True, changing=True, effort=effort)
        return work.result

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

    def search_words(
        self,
        name: str,
        text: str,
        k: int,
        *,
        where: Filter | None = None,
        columns: Sequence[str] = (),
    ) -> pa.Table:
        check_k(k)
        return self._with(name, lambda known: self._search_words(known, text, k, where, columns))

    def scan(
        self, name: str, columns: Sequence[str], where: Filter | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        if batch_rows < 1:
            raise QueryError(f"batch_rows must be at least 1, found {batch_rows}")

        def start(known: Known) -> Iterator[pa.RecordBatch]:
            ordered = self._opened().in_key_order

            def page(expression: str, wanted: list[str], limit: int) -> list[dict[str, Any]]:
                def ask(present: Known) -> list[dict[str, Any]]:
                    # Strong: what is compared with the log must show every write that has returned anywhere.
                    rows: list[dict[str, Any]] = self._query(
                        present.physical, expression, wanted, "Strong", limit=limit, **ordered
                    )
                    return rows

                # A page is asked for long after the one before it: the server may have gone and come back.
                return self._with(known.name, ask)

            return scan_pages(known.spec, columns, self._expression(known.spec, where), batch_rows, page)

        return self._with(name, start, moving=True)

    def delete(self, name: str, keys: pa.Table) -> int:
        effort = Effort(self._endpoint.patience_s)
        return self._with(name, lambda known: self._delete(known, keys), moving=True, changing=True, effort=effort)

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

    @property
    def _timeout(self) -> float:
        """Seconds for the next call to Milvus: of the effort that it belongs to, what is left."""
        effort: Effort | None = getattr(self._efforts, "present", None)
        limit = self._endpoint.timeout_s
        return limit if effort is None else max(min(limit, effort.left_s), min(limit, LEAST_S))

    def _kept_at(self, action: Callable[[], T], effort: Effort | None = None) -> T:
        """Run `action`, again and again while Milvus cannot answer, for `timeout_s` unless an effort is given."""
        self._opened()
        effort = effort or Effort(self._endpoint.timeout_s)
        before = getattr(self._efforts, "present", None)
        self._efforts.present = effort
        try:
            return effort.call(action)
        finally:
            self._efforts.present = before

    def _with(
        self,
        name: str,
        action: Callable[[Known], T],
        *,
        moving: bool = False,
        changing: bool = False,
        effort: Effort | None = None,
    ) -> T:
        """Run `action` on the collection; once more if what was known of it turns out to be out of date.

        Args:
            moving: ask Milvus first where an alias points, since a write must not follow an old one.
            changing: ask it afterwards too. What was changed in a collection while its rows were carried to the next
                one may have come too late to be carried; it is done again there. An answer from before the alias moved
                is in what is carried.
            effort: how long to go on while Milvus cannot answer; default `timeout_s`.
        """
        kept = effort or Effort(self._endpoint.timeout_s)

        asked: list[Known] = []

        def noted(known: Known) -> T:
            asked.append(known)
            return action(known)

        def once() -> T:
            result = self._once(name, noted, moving, kept.attempts > 1)
            while changing and self._moved(name, asked[-1]):
                result = self._once(name, noted, moving, True)
            return result

        return self._kept_at(once, kept)

    def _moved(self, name: str, known: Known) -> bool:
        """Whether the alias by which a collection was asked points at another one by now."""
        return known.by_alias and self._opened().admin.resolve_alias(name) not in (known.name, None)

    def _once(self, name: str, action: Callable[[Known], T], moving: bool, anew: bool) -> T:
        admin = self._opened().admin
        known = admin.find(name, refresh=anew)
        if known is None or (moving and known.by_alias and not anew):
            known = admin.find(name, refresh=True)
        if known is None:
            raise MissingCollectionError(f"there is no collection or alias {name} in Milvus; run `connector apply`")
        try:
            return action(known)
        except StoreUnavailableError:
            raise
        except (StoreError, QueryError, FilterError):
            again = admin.find(name, refresh=True)
            if again is None:
                raise MissingCollectionError(
                    f"collection {name} is no longer in Milvus; run `connector apply`"
                ) from None
            if again == known:
                raise
            return action(again)

    def _begin(self, session: Session, name: str) -> None:
        """A collection that was made just now is empty; its first write need not ask."""
        known = session.admin.find(name)
        if known is not None:
            with session.marks.hold(known.physical) as record:
                if record.read(known.identity).newest is None:
                    record.write(known.identity, Watermark(OLDEST, now()))

    def _write(self, known: Known, work: Writing) -> None:
        try:
            work.attempt(self._opened(), known, self._recency)
        finally:
            self._changed(known.name)

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
        level, mark = self._level(known.name)
        found = by_vector(
            self._opened(),
            known,
            vectors,
            k,
            where=where,
            columns=columns,
            params=params,
            timeout=self._timeout,
            consistency_level=level,
        )
        self._noticed[known.name] = mark
        return found

    def _search_words(self, known: Known, text: str, k: int, where: Filter | None, columns: Sequence[str]) -> pa.Table:
        level, mark = self._level(known.name)
        found = by_words(
            self._opened(),
            known,
            text,
            k,
            where=where,
            columns=columns,
            timeout=self._timeout,
            consistency_level=level,
        )
        self._noticed[known.name] = mark
        return found

    def _delete(self, known: Known, keys: pa.Table) -> int:
        asked = [key for key in encode_keys(known.spec, keys) if key is not None]
        session = self._opened()
        with session.marks.hold(known.physical):
            for some in _chunks(list(dict.fromkeys(asked))):
                with translated(f"delete in {known.name}"):
                    session.client.delete(known.physical, filter=_among(some), timeout=self._timeout)
                self._changed(known.name)
        return len(asked)

    def _count(self, known: Known) -> int:
        answer = self._query(known.target, "", ["count(*)"], "Strong")
        return int(answer[0]["count(*)"])

    def _expression(self, spec: CollectionSpec, where: Filter | None) -> str:
        return expression(spec, where, self._opened().capabilities)

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
        """Strong, since another process may have written them."""
        target, wanted = self._endpoint.prefix + name, [KEY, EVENT, CREATED]
        rows = [row for some in _chunks(keys) for row in self._query(target, _among(some), wanted, "Strong")]
        return {row[KEY]: (row[EVENT], row[CREATED]) for row in rows}

    def _changed(self, name: str) -> None:
        with self._lock:
            self._written[name] += 1

    def _level(self, name: str) -> tuple[str, int]:
        """Consistency for a read, and the count of own writes that it will have seen."""
        mark = self._written[name]
        return ("Strong" if mark > self._noticed[name] else self._endpoint.consistency), mark


def _among(keys: Sequence[str]) -> str:
    return f"{KEY} in [{', '.join(quote(key) for key in keys)}]"


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), KEYS_AT_ONCE):
        yield keys[start : start + KEYS_AT_ONCE]
