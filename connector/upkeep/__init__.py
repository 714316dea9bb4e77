"""Keeping the stores true to the offline log: reconciliation, deletion of entities, compaction."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.upkeep.compaction import compact
    from connector.upkeep.comparison import reconcile
    from connector.upkeep.delete import delete_entities
    from connector.upkeep.receipts import DeletionReceipt, Removal
    from connector.upkeep.reports import Compaction, ReconcileReport, VersionDifferences

_HOME = {
    "Compaction": "reports",
    "compact": "compaction",
    "DeletionReceipt": "receipts",
    "Removal": "receipts",
    "delete_entities": "delete",
    "ReconcileReport": "reports",
    "VersionDifferences": "reports",
    "reconcile": "comparison",
}

__all__ = [
    "Compaction",
    "DeletionReceipt",
    "ReconcileReport",
    "Removal",
    "VersionDifferences",
    "compact",
    "delete_entities",
    "reconcile",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
