"""Searches of one collection: by vector and by words, each with a filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from connector.errors import FilterError, QueryError
from connector.stores import results
from connector.stores.admin import Known
from connector.stores.base import CollectionSpec
from connector.stores.capabilities import Capabilities
from connector.stores.connection import translated
from connector.stores.filters import Filter, to_milvus
from connector.stores.layout import BM25, filter_column, filter_types, null_marks, vector_column
from connector.stores.queries import query_vectors, search_params, search_schema
from connector.stores.session import Session

MOST_WORDS_BYTES = 8192
KEPT_EXPRESSIONS = 64


def expression(spec: CollectionSpec, where: Filter | None, can: Capabilities) -> str:
    """Milvus expression of a filter; empty for none.

    Raises:
        FilterError: a field that the collection does not declare so, or a pattern that this server cannot match.
    """
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
        like=can.patterns,
    )


def _kept_expression(known: Known, where: Filter | None, can: Capabilities) -> str:
    """`expression`, made once for a filter that is asked again; a filter read from the same text is the same one."""
    if where is None:
        return ""
    kept = known.expressions.get(id(where))
    if kept is not None and kept[0] is where:
        return kept[1]
    made = expression(known.spec, where, can)
    if len(known.expressions) >= KEPT_EXPRESSIONS:
        known.expressions.clear()
    known.expressions[id(where)] = where, made
    return made


def by_vector(
    session: Session,
    known: Known,
    vectors: Any,
    k: int,
    *,
    where: Filter | None,
    columns: Sequence[str],
    params: dict[str, Any] | None,
    **options: Any,
) -> pa.Table:
    """`VectorStore.search`; `options` go to the client."""
    spec = known.spec
    if spec.vector is None:
        raise QueryError(f"collection {spec.name} has no vector to search by")
    queries = query_vectors(spec.vector, vectors)
    condition = _kept_expression(known, where, session.capabilities)
    wanted = results.output_fields(spec, columns)
    if len(queries) == 0:
        return results.empty_search_table(spec, columns)
    with translated(f"search {known.asked}"):
        answer = session.client.search(
            known.target,
            data=[query.tobytes() for query in queries],  # pymilvus packs bytes without a look at each number
            anns_field=vector_column(spec),
            schema=search_schema(spec),
            filter=condition,
            limit=int(k),
            output_fields=wanted,
            search_params=search_params(spec.vector, int(k), params),
            **options,
        )
    if not any(len(hits) for hits in answer):
        return results.empty_search_table(spec, columns)
    return results.search_table(spec, answer, columns)


def by_words(
    session: Session,
    known: Known,
    text: str,
    k: int,
    *,
    where: Filter | None,
    columns: Sequence[str],
    **options: Any,
) -> pa.Table:
    """`VectorStore.search_words`; `options` go to the client."""
    spec, can = known.spec, session.capabilities
    if not spec.keyword_fields:
        remedy = "declare keywords= and raise revision=" if can.keywords else can.keywords_need
        raise QueryError(f"collection {spec.name} cannot be searched by words; {remedy}")
    if not text.strip() or len(text.encode("utf-8", "replace")) > MOST_WORDS_BYTES:
        raise QueryError(f"keyword query: expected some words of at most {MOST_WORDS_BYTES} bytes")
    condition = _kept_expression(known, where, can)
    wanted = results.output_fields(spec, columns)
    with translated(f"search {known.asked}"):
        answer = session.client.search(
            known.target,
            data=[text],
            anns_field=BM25,
            filter=condition,
            limit=int(k),
            output_fields=wanted,
            search_params={"metric_type": "BM25", "params": {}},
            **options,
        )
    found = (
        results.search_table(spec, answer, columns)
        if any(len(hits) for hits in answer)
        else results.empty_search_table(spec, columns)
    )
    scores = np.abs(found.column("distance").to_numpy())  # Milvus Lite gives them below zero
    place = found.column_names.index("distance")
    found = found.set_column(place, "score", pa.array(scores, pa.float32()))
    return found.drop_columns(["query"])
