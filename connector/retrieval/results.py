"""Result tables: hits of one space, or fused hits of several, as one Arrow table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connector.missing import MODALITIES
from connector.retrieval.fusion import Hit, Key
from connector.spaces import EmbeddingSpace


@dataclass(frozen=True)
class SpaceHits:
    """Hits of one space, best first.

    Attributes:
        table: the key, `score` float64 (more is better) and the carried scalars asked of this space.
    """

    space: EmbeddingSpace
    table: pa.Table

    def hits(self) -> list[Hit]:
        """Key and score of each row."""
        keys = self.table.column(self.space.join_key.name).to_pylist()
        return [Hit(key, score) for key, score in zip(keys, self.table.column("score").to_pylist(), strict=True)]


def space_hits(space: EmbeddingSpace, found: pa.Table, fields: Sequence[str]) -> SpaceHits:
    """Turn a store's answer to one query into hits, equal scores in the order of their keys."""
    key = space.join_key.name
    scores = found.column("distance").to_numpy().astype(np.float64)
    if space.contract.metric == "L2":
        scores = -scores
    columns = [found.column(key), pa.array(scores), *(found.column(name) for name in fields)]
    table = pa.table(columns, names=[key, "score", *fields])
    if len(scores) > 1 and (scores[1:] >= scores[:-1]).any():
        table = table.sort_by([("score", "descending"), (key, "ascending")])
    return SpaceHits(space, table)


def no_hits(space: EmbeddingSpace, empty: pa.Table, fields: Sequence[str]) -> SpaceHits:
    """What a space without a vector for the query has found.

    Args:
        empty: a table of no rows with the columns `fields`.
    """
    key = pa.array([], pa.string() if space.join_key.dtype == "String" else pa.int64())
    columns = [key, pa.array([], pa.float64()), *(empty.column(name) for name in fields)]
    return SpaceHits(space, pa.table(columns, names=[space.join_key.name, "score", *fields]))


def single_result(found: SpaceHits, k: int) -> pa.Table:
    """The key, `rank` int32 from 1, `score` float64, then the carried scalars."""
    table = found.table if found.table.num_rows <= k else found.table.slice(0, k)
    return table.add_column(1, "rank", _ranks(table.num_rows))


def fused_result(found: Sequence[SpaceHits], fused: Sequence[Hit], fields: Sequence[str]) -> pa.Table:
    """As `single_result`, then `<space>.rank` int32 and `<space>.score` float64 of each space, null without a hit.

    A scalar that several spaces carry is taken from the first that found the item; which modalities it had is said for
    each space, `<space>.modalities`.
    """
    key_column = found[0].table.column(found[0].space.join_key.name)
    positions = [_positions(each) for each in found]
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        found[0].space.join_key.name: pa.array([hit.key for hit in fused], key_column.type),
        "rank": _ranks(len(fused)),
        "score": pa.array([hit.score for hit in fused], pa.float64()),
    }
    taken = [pa.array([position.get(hit.key) for hit in fused], pa.int32()) for position in positions]
    for name in fields:
        parts = [
            each.table.column(name).take(rows)
            for each, rows in zip(found, taken, strict=True)
            if name in each.table.column_names
        ]
        columns[name] = pc.coalesce(*parts) if len(parts) > 1 else parts[0]
    for each, rows in zip(found, taken, strict=True):
        columns[f"{each.space.name}.rank"] = pc.add(rows, pa.scalar(1, pa.int32()))
        columns[f"{each.space.name}.score"] = each.table.column("score").take(rows)
        if each.space.says_modalities and MODALITIES in fields:
            columns[f"{each.space.name}.{MODALITIES}"] = each.table.column(MODALITIES).take(rows)
    return pa.table(columns)


def _positions(found: SpaceHits) -> Mapping[Key, int]:
    keys = found.table.column(found.space.join_key.name).to_pylist()
    return {key: position for position, key in enumerate(keys)}


def _ranks(count: int) -> pa.Array:
    return pa.array(np.arange(1, count + 1, dtype=np.int32))
