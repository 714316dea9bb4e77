"""Photographs of clothes with their owners; every fifth owner is held out, because one person's photos look alike."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

VAGUE = ("Not sure", "Other", "Skip")
EVERY, HELD = 5, 2


def clothes(data: Path) -> pa.Table:
    """`label`, `image`, `item_id`, `user_id`, in the order of the items; those without a label that says what they
    show are left out."""
    items = pq.read_table(data / "wardrobe" / "items.parquet", columns=["label", "image", "item_id"])
    owners = pq.read_table(data / "wardrobe" / "ownership.parquet", columns=["item_id", "user_id"])
    items = items.filter(pc.invert(pc.is_in(items["label"], value_set=pa.array(VAGUE))))
    owner_of = dict(zip(owners["item_id"].to_pylist(), owners["user_id"].to_pylist(), strict=True))
    return items.append_column("user_id", pa.array([owner_of[item] for item in items["item_id"].to_pylist()]))


def held_owners(items: pa.Table) -> pa.Array:
    """Every fifth owner, by name."""
    return pa.array(sorted(set(items["user_id"].to_pylist()))[HELD::EVERY])
