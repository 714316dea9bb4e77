"""Keeping the stores true to the offline log: reconciliation, deletion of entities, compaction."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.upkeep.comparison import reconcile
    from connector.upkeep.reports import ReconcileReport, VersionDifferences

_HOME = {
    "ReconcileReport": "reports",
    "VersionDifferences": "reports",
    "reconcile": "comparison",
}

__all__ = [
    "ReconcileReport",
    "VersionDifferences",
    "reconcile",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
