"""Pretraining and adaptation jobs: a typed spec in, an encoder with its card out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.adaptation.contrastive import PretrainReport, pretrain_contrastive
    from connector.adaptation.jobs import JobSpec, pretrain
    from connector.adaptation.report import TrainingReport
    from connector.adaptation.run_spec import RunSpec
    from connector.adaptation.spec import ContrastiveSpec, load_spec

__all__ = [
    "ContrastiveSpec",
    "JobSpec",
    "PretrainReport",
    "RunSpec",
    "TrainingReport",
    "load_spec",
    "pretrain",
    "pretrain_contrastive",
]

_HOMES = {
    "ContrastiveSpec": "spec",
    "JobSpec": "jobs",
    "PretrainReport": "contrastive",
    "TrainingReport": "report",
    "RunSpec": "run_spec",
    "load_spec": "spec",
    "pretrain": "jobs",
    "pretrain_contrastive": "contrastive",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'connector.adaptation' has no attribute {name!r}")
    return getattr(import_module(f"connector.adaptation.{_HOMES[name]}"), name)
