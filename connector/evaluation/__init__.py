"""Offline evaluation: interactions in time, splits, full ranking with intervals, baselines and controls."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.evaluation.baselines import Ease, ItemKnn, Popularity
    from connector.evaluation.bootstrap import Interval, difference, interval
    from connector.evaluation.content import ContentMean, random_vectors, shuffled
    from connector.evaluation.interactions import Interactions, InteractionSource, read_interactions
    from connector.evaluation.ranking import Scorer, UserFigures, evaluate
    from connector.evaluation.splits import Split, leave_one_out, time_split

__all__ = [
    "ContentMean",
    "Ease",
    "InteractionSource",
    "Interactions",
    "Interval",
    "ItemKnn",
    "Popularity",
    "Scorer",
    "Split",
    "UserFigures",
    "difference",
    "evaluate",
    "interval",
    "leave_one_out",
    "random_vectors",
    "read_interactions",
    "shuffled",
    "time_split",
]

_HOMES = {
    "ContentMean": "content",
    "Ease": "baselines",
    "InteractionSource": "interactions",
    "Interactions": "interactions",
    "Interval": "bootstrap",
    "ItemKnn": "baselines",
    "Popularity": "baselines",
    "Scorer": "ranking",
    "Split": "splits",
    "UserFigures": "ranking",
    "difference": "bootstrap",
    "evaluate": "ranking",
    "interval": "bootstrap",
    "leave_one_out": "splits",
    "random_vectors": "content",
    "read_interactions": "interactions",
    "shuffled": "content",
    "time_split": "splits",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'connector.evaluation' has no attribute {name!r}")
    return getattr(import_module(f"connector.evaluation.{_HOMES[name]}"), name)
