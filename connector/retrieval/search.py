"""The search itself: vectors of the query → hits of each space, in parallel → one ranked table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connector.errors import ContractMismatchError, FilterError, QueryError, SchemaMismatchError
from connector.retrieval.encode_query import EncoderFor, encode_query
from connector.retrieval.fusion import FUSIONS, Key
from connector.retrieval.query import Query
from connector.retrieval.results import SpaceHits, fused_result, no_hits, single_result, space_hits
from connector.spaces import EmbeddingSpace
from connector.stores.base import ScalarType, VectorStore
from connector.stores.filters import Filter, parse_filter
from connector.stores.layout import filter_types
from connector.stores.specs import collection_spec
from connector.suggest import suggestion

OVER_FETCH = 4
"""Hits fetched from each of several spaces for one wanted: an item low in one list may be high in another."""

LEAST_FETCH = 50
STORE_LIMIT = 16_384


class Searcher:
    """Searches the spaces of one store; safe to call from several threads.

    Args:
        store: where the collections are.
        encoder_for: contract → encoder.
        pool: threads for spaces and encoders that are asked at once.
    """

    def __init__(self, store: VectorStore, encoder_for: EncoderFor, pool: Executor) -> None:
        self._store = store
        self._encoder_for = encoder_for
        self._pool = pool
        self._verified: dict[str, EmbeddingSpace] = {}
        self._types: dict[str, tuple[EmbeddingSpace, dict[str, ScalarType]]] = {}

    def search(self, query: Query, spaces: Mapping[str, EmbeddingSpace]) -> pa.Table:
        """Hits for `query`: the key, `rank`, `score`, carried scalars, and each space's own rank and score if several.

        Args:
            spaces: the space of every name in `query.weights`.

        Raises:
            QueryError: the query does not fit the spaces.
            FilterError: the filter does not parse, or names a field that a space does not carry.
            ContractMismatchError: a collection holds vectors of another contract than its view declares.
            StoreError: a collection is missing, or the store failed.
        """
        chosen = [spaces[name] for name in query.weights]
        fields = _fields_of(query, chosen)
        filters = {space.name: self._filter(query, space) for space in chosen}
        _require_one_entity(chosen)
        for space in chosen:
            self.verify(space)
        known = {_as_key(item, chosen[0]) for item in query.known}
        if query.item is not None:
            vectors = self._stored_vectors(_as_key(query.item, chosen[0]), chosen)
        else:
            vectors = encode_query(query, chosen, self._encoder_for, self._pool)

        def ask(space: EmbeddingSpace) -> SpaceHits:
            wanted = query.k if len(chosen) == 1 else max(query.k * OVER_FETCH, LEAST_FETCH)
            carried = [name for name in fields if any(field.name == name for field in space.fields)]
            if space.name not in vectors:
                return no_hits(space, self._store.read(space.collection, _key_table(space, []), carried), carried)
            found = self._store.search(
                space.collection,
                vectors[space.name][np.newaxis, :],
                min(wanted + len(known), STORE_LIMIT),
                where=filters[space.name],
                columns=carried,
                params=query.params,
            )
            return space_hits(space, _without(found, space.join_key.name, known), carried)

        if len(chosen) == 1:
            return single_result(ask(chosen[0]), query.k)
        answers = list(self._pool.map(ask, chosen))
        rankings = {each.space.name: each.hits() for each in answers}
        fused = FUSIONS[query.fusion](rankings, query.weights)[: query.k]
        return self._complete(fused_result(answers, fused, fields), answers, fields)

    def verify(self, space: EmbeddingSpace) -> None:
        """Check, once for each reading of the registry, that the collection bears the contract of its view."""
        if self._verified.get(space.name) is space:
            return
        spec = self._store.describe(space.collection)
        if spec is None or spec.vector is None:
            raise SchemaMismatchError(
                f"space {space.name}: Milvus has no collection {space.collection}; run `connector apply`"
            )
        if spec.contract_hash != space.contract.hash:
            raise ContractMismatchError(
                f"space {space.name}: collection {space.collection} holds vectors of contract {spec.contract_hash}, "
                f"the feature view declares {space.contract.label}; publish the encoder as a new version and apply it"
            )
        self._verified[space.name] = space

    def _filter(self, query: Query, space: EmbeddingSpace) -> Filter | None:
        if query.where is None:
            return None
        kept = self._types.get(space.name)
        if kept is None or kept[0] is not space:
            kept = self._types[space.name] = space, filter_types(collection_spec(space))
        try:
            return parse_filter(query.where, kept[1])
        except FilterError as error:
            raise FilterError(f"space {space.name}: {error}") from error

    def _stored_vectors(self, key: Key, spaces: Sequence[EmbeddingSpace]) -> dict[str, NDArray[np.float32]]:
        vectors: dict[str, NDArray[np.float32]] = {}
        for space in spaces:
            keys = _key_table(space, [key])
            stored = self._store.read(space.collection, keys, [space.vector_field]).column(space.vector_field)
            if stored[0].as_py() is not None:
                vectors[space.name] = np.asarray(stored[0].as_py(), dtype=np.float32)
        if not vectors:
            names = " nor ".join(space.name for space in spaces)
            raise QueryError(f"item_id {key!r} is not stored in {names}; ingest it first, or search by text or image")
        return vectors

    def _complete(self, table: pa.Table, answers: Sequence[SpaceHits], fields: Sequence[str]) -> pa.Table:
        """Read the scalars of items that a space carries and has not found, where not every space carries them."""
        keys = table.column(answers[0].space.join_key.name).to_pylist()
        for answer in answers:
            found = set(answer.table.column(answer.space.join_key.name).to_pylist())
            absent = [key for key in keys if key not in found]
            carried = [name for name in fields if name in answer.table.column_names]
            lacking = [name for name in carried if not all(name in other.table.column_names for other in answers)]
            if not absent or not lacking:
                continue
            rows = self._store.read(answer.space.collection, _key_table(answer.space, absent), lacking)
            places = {key: place for place, key in enumerate(absent)}
            taken = pa.array([places.get(key) for key in keys], pa.int32())
            for name in lacking:
                merged = pc.coalesce(table.column(name), rows.column(name).take(taken))
                table = table.set_column(table.column_names.index(name), name, merged)
        return table


def _fields_of(query: Query, spaces: Sequence[EmbeddingSpace]) -> list[str]:
    carried = list(dict.fromkeys(field.name for space in spaces for field in space.fields))
    if query.fields is None:
        return carried
    for name in query.fields:
        if name not in carried:
            names = " nor ".join(space.name for space in spaces)
            raise QueryError(f"field {name!r} is not carried by {names}: {suggestion(name, carried)}")
    return list(query.fields)


def _require_one_entity(spaces: Sequence[EmbeddingSpace]) -> None:
    entities = {space.entity for space in spaces}
    if len(entities) > 1:
        raise QueryError(
            "spaces searched together must hold one entity: "
            + ", ".join(f"{space.name} holds {space.entity}" for space in spaces)
        )


def _as_key(item: Key, space: EmbeddingSpace) -> Key:
    if space.join_key.dtype == "String":
        return str(item)
    try:
        return int(pa.scalar(int(item), pa.int64()).as_py())
    except (ValueError, OverflowError) as error:
        raise QueryError(
            f"item {item!r} is not a whole number of 64 bits, as the key {space.join_key.name} is"
        ) from error


def _key_table(space: EmbeddingSpace, keys: Sequence[Any]) -> pa.Table:
    kind = pa.string() if space.join_key.dtype == "String" else pa.int64()
    return pa.table({space.join_key.name: pa.array(keys, kind)})


def _without(found: pa.Table, key: str, known: Collection[Key]) -> pa.Table:
    if not known:
        return found
    keys = found.column(key)
    return found.filter(pc.invert(pc.is_in(keys, pa.array(list(known), keys.type))))
