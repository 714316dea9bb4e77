"""What a deletion removed, and where; kept without the keys themselves."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from connector.ingest.validate import key_hash
from connector.stores.durable import DurableFolder


@dataclass(frozen=True)
class Removal:
    """Rows removed from one place.

    Attributes:
        where: `offline log`, `milvus`, `online store` (not ours: its rows are overwritten with nulls, since
            Feast's stores have no removal by key), or `dead letters`.
        place: folder, collection, or type of the store.
        view: feature view; empty for dead letters.
        version: label of a space's version; empty otherwise.
        rows: of a log, each event counted.
    """

    where: str
    place: str
    view: str = ""
    version: str = ""
    rows: int = 0


@dataclass
class DeletionReceipt:
    """A deletion that was carried out in full, or what one would remove.

    Attributes:
        keys: as they were given.
        at: when it ended.
        removals: every place that was gone through, also where nothing was found.
        remains: what is not the connector's to delete, a line each.
        path: file of the receipt.
        carried_out: False where it was only counted.
    """

    entity: str
    keys: list[str | int]
    at: datetime
    removals: list[Removal] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)
    path: str | None = None
    carried_out: bool = True

    @property
    def rows(self) -> int:
        """Rows removed, over all places."""
        return sum(removal.rows for removal in self.removals)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "at": self.at.isoformat(), "rows": self.rows}

    def write(self, folder: Path) -> None:
        """Keep it as JSON, with the SHA-256 of each key in place of the key."""
        record = {**self.to_dict(), "keys": [key_hash(key) for key in self.keys]}
        del record["path"]
        text = json.dumps(record, indent=2)
        name = f"{self.at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.json"
        self.path = DurableFolder(folder).write(name, lambda file: file.write(text.encode()))
