"""Pretraining and adaptation jobs: a typed spec in, an encoder with its card out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.adaptation.contrastive import PretrainReport, pretrain_contrastive
    from connector.adaptation.fusion.spec import FusionSpec
    from connector.adaptation.items.spec import CoInteractionSpec, CollaborativeAlignmentSpec
    from connector.adaptation.jobs import JobSpec, pretrain
    from connector.adaptation.pixels.spec import MaskedPatchesSpec, ViewsSpec
    from connector.adaptation.report import TrainingReport
    from connector.adaptation.run_spec import RunSpec
    from connector.adaptation.semantic.saving import load_generator
    from connector.adaptation.semantic.spec import NextSemanticIdSpec, SemanticIdsSpec
    from connector.adaptation.sequences.spec import MaskedItemSpec, NextItemSpec
    from connector.adaptation.spec import ContrastiveSpec, load_spec
    from connector.adaptation.universal.spec import UniversalSequenceSpec

__all__ = [
    "CoInteractionSpec",
    "CollaborativeAlignmentSpec",
    "ContrastiveSpec",
    "FusionSpec",
    "JobSpec",
    "MaskedItemSpec",
    "MaskedPatchesSpec",
    "NextItemSpec",
    "NextSemanticIdSpec",
    "PretrainReport",
    "RunSpec",
    "SemanticIdsSpec",
    "TrainingReport",
    "UniversalSequenceSpec",
    "ViewsSpec",
    "load_generator",
    "load_spec",
    "pretrain",
    "pretrain_contrastive",
]

_HOMES = {
    "CoInteractionSpec": "items.spec",
    "CollaborativeAlignmentSpec": "items.spec",
    "ContrastiveSpec": "spec",
    "FusionSpec": "fusion.spec",
    "JobSpec": "jobs",
    "MaskedItemSpec": "sequences.spec",
    "MaskedPatchesSpec": "pixels.spec",
    "NextItemSpec": "sequences.spec",
    "NextSemanticIdSpec": "semantic.spec",
    "PretrainReport": "contrastive",
    "RunSpec": "run_spec",
    "SemanticIdsSpec": "semantic.spec",
    "TrainingReport": "report",
    "UniversalSequenceSpec": "universal.spec",
    "ViewsSpec": "pixels.spec",
    "load_generator": "semantic.saving",
    "load_spec": "spec",
    "pretrain": "jobs",
    "pretrain_contrastive": "contrastive",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'connector.adaptation' has no attribute {name!r}")
    return getattr(import_module(f"connector.adaptation.{_HOMES[name]}"), name)
