"""The demo's shop: a seeded catalogue with known attributes, and questions whose answers can be checked.

from examples.demo.shop import catalogue, queries

table = catalogue()               # 600 goods: words, pictures, attributes, prices
for query in queries(table):      # query.text / query.image / query.where → query.relevant
    ...
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from examples.demo.drawing import draw
from examples.demo.goods import COLOURS, KINDS, MATERIAL_FACTOR, PATTERNS, Good, sample_good
from examples.demo.queries import Query, queries
from examples.demo.wording import caption, description, title

CATALOGUE_SEED = 2026
"""The demo's own shop. Nothing is ever trained on it."""

SIZE = 600

SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("kind", pa.string()),
        ("colour", pa.string()),
        ("pattern", pa.string()),
        ("material", pa.string()),
        ("price", pa.float64()),
        ("image", pa.binary()),
    ]
)


def goods(seed: int = CATALOGUE_SEED, size: int = SIZE) -> list[Good]:
    """Attributes of the shop's articles, every kind about equally often."""
    kinds = tuple(KINDS)
    return [sample_good(_rng(seed, index, 0), kinds[index % len(kinds)]) for index in range(size)]


def catalogue(seed: int = CATALOGUE_SEED, size: int = SIZE) -> pa.Table:
    """The shop as a table of `SCHEMA`; the first n rows do not depend on `size`."""
    rows = [_row(seed, index, good) for index, good in enumerate(goods(seed, size))]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def captioned_drawings(seed: int, size: int) -> pa.Table:
    """Drawings with short captions, for training: the columns of `SCHEMA` and `caption`.

    Raises:
        ValueError: `seed` is the demo's own.
    """
    if seed == CATALOGUE_SEED:
        raise ValueError(f"seed {seed} draws the demo's own shop, which is held out; take another")
    table = catalogue(seed, size)
    captions = [caption(good, _rng(seed, index, 3)) for index, good in enumerate(goods(seed, size))]
    return table.append_column("caption", pa.array(captions, pa.string()))


def write_catalogue(path: Path, seed: int = CATALOGUE_SEED, size: int = SIZE) -> Path:
    """Write `catalogue` as Parquet, under a temporary name first."""
    temporary = path.with_name(f".{path.name}.writing")
    pq.write_table(catalogue(seed, size), temporary)
    return temporary.replace(path)


def _row(seed: int, index: int, good: Good) -> dict[str, object]:
    words = _rng(seed, index, 1)
    return {
        "item_id": f"item-{index:04d}",
        "title": title(good, words),
        "description": description(good, words),
        "kind": good.kind,
        "colour": good.colour,
        "pattern": good.pattern,
        "material": good.material,
        "price": good.price,
        "image": draw(good, _rng(seed, index, 2)),
    }


def _rng(seed: int, index: int, purpose: int) -> np.random.Generator:
    """One stream per article and purpose, so that changing one thing leaves the rest as it was."""
    return np.random.default_rng([seed, index, purpose])


__all__ = [
    "CATALOGUE_SEED",
    "COLOURS",
    "KINDS",
    "MATERIAL_FACTOR",
    "PATTERNS",
    "SCHEMA",
    "SIZE",
    "Good",
    "Query",
    "captioned_drawings",
    "catalogue",
    "goods",
    "queries",
    "write_catalogue",
]
