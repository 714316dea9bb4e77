"""Versions of a space: listed, compared, promoted, rolled back and pruned."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.versions.gate import Check, GateReport, GateSettings
    from connector.versions.planning import Change, plan_repository
    from connector.versions.promotion import PromotionReport, promote, rollback
    from connector.versions.pruning import prune
    from connector.versions.records import SpaceVersion, find_version, find_versions, live_views
    from connector.versions.trial import Trial

_HOME = {
    "Change": "planning",
    "Check": "gate",
    "GateReport": "gate",
    "GateSettings": "gate",
    "PromotionReport": "promotion",
    "plan_repository": "planning",
    "promote": "promotion",
    "rollback": "promotion",
    "prune": "pruning",
    "SpaceVersion": "records",
    "find_version": "records",
    "find_versions": "records",
    "live_views": "records",
    "Trial": "trial",
}

__all__ = [
    "Change",
    "Check",
    "GateReport",
    "GateSettings",
    "PromotionReport",
    "SpaceVersion",
    "Trial",
    "find_version",
    "find_versions",
    "live_views",
    "plan_repository",
    "promote",
    "prune",
    "rollback",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
