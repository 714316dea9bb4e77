"""The Tower contract: what a torch module must say of itself to be exported and served."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from encoders.contract import HASH_LENGTH, Metric, Modality
from encoders.weight_files import weights_hash

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Served:
    """A tower as it is served: the module that the graph is made of, and how to call it.

    Attributes:
        module: takes the tensors of `sample(n)` by position, gives vectors [n, dimension].
        sample: n, seed → a batch like those of real inputs; other seeds give other shapes where shapes vary.
        axes: input name → axis → name of the axes whose size varies.
    """

    module: nn.Module
    sample: Callable[[int, int], Batch]
    axes: Mapping[str, Mapping[int, str]]


@dataclass(frozen=True)
class Description:
    """What a tower's contract needs beside the hashes of its files.

    Attributes:
        spans: modality whose tower of the same folder spans the space these vectors lie in; default: its own.
        files: name → content of further files of its encoder folder.
        folders: place in its encoder folder → a folder that is copied there.
    """

    modality: Modality
    dimension: int
    pooling: str
    normalized: bool
    max_input: int
    preprocessing: Mapping[str, Any]
    aligned_with: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    metric: Metric = "COSINE"
    spans: Modality | None = None


class Tower(Protocol):
    """A torch module that can be exported by `encoders.export`."""

    @classmethod
    def from_folder(cls, path: str | Path) -> Any:
        """Load from a model folder, float32, evaluation mode."""

    def describe(self) -> Description:
        """What its contract needs."""

    def served(self) -> Served:
        """The module that is turned into a graph."""


def shared_space(folder: Path) -> str:
    """Name of the space that the two towers of one checkpoint were trained into: a hash of their weights."""
    return hashlib.sha256(f"space:{weights_hash(folder)}".encode()).hexdigest()[:HASH_LENGTH]
