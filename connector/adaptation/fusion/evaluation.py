"""How well a part of an item finds the item: the head beside the plain mean, single members and controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from connector.adaptation.metrics import retrieval_recall
from connector.evaluation.content import random_vectors, shuffled

CUTS = (1, 5, 10)
Embed = Callable[[Sequence[Tensor], Tensor], Tensor]
"""Members' vectors (each [n, size]) and which of them to use (bool [n, members]) → unit vectors [n, dimension]."""


@dataclass(frozen=True)
class Held:
    """Items held out.

    Attributes:
        vectors: float32 [items, size] by modality, unit length.
        present: bool [items, members].
        groups: int64 [items]; an item of the query's own group is a right answer.
    """

    vectors: Mapping[str, Tensor]
    present: Tensor
    groups: Tensor

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the members, in order."""
        return tuple(self.vectors)

    def subsets(self) -> Iterator[tuple[str, Tensor]]:
        """Name (`text+image`) and mask bool [members] of every part of an item that is not all of it."""
        for size in range(1, len(self.vectors)):
            for chosen in combinations(range(len(self.vectors)), size):
                mask = torch.zeros(len(self.vectors), dtype=torch.bool)
                mask[list(chosen)] = True
                yield "+".join(self.modalities[at] for at in chosen), mask


def part_to_item(held: Held, embed: Embed) -> dict[str, float]:
    """recall@k of `<part>_to_whole` and `<part>_to_rest`.

    The whole contains the part that was asked with, so it is easy to find; the rest does not, and shows what the
    modalities know of each other. Queries are the items that have the part and something beside it.
    """
    vectors = list(held.vectors.values())
    whole = embed(vectors, held.present)
    figures: dict[str, float] = {}
    for name, mask in held.subsets():
        rest = held.present & ~mask
        rows = ((held.present & mask).sum(1) == mask.sum()) & rest.any(1)
        if not bool(rows.any()):
            continue
        asked = [vector[rows] for vector in vectors]
        queries = embed(asked, mask.expand(len(asked[0]), -1))
        others = embed(asked, rest[rows])
        groups = held.groups[rows]
        for k in CUTS:
            figures[f"{name}_to_whole/recall@{k}"] = retrieval_recall(queries, whole, groups, held.groups, k)
            figures[f"{name}_to_rest/recall@{k}"] = retrieval_recall(queries, others, groups, groups, k)
    return figures


def mean_of(vectors: Sequence[Tensor], present: Tensor) -> Tensor:
    """The plain mean of what is there, for members of one dimension; unit length."""
    total = sum(vector * present[:, at : at + 1] for at, vector in enumerate(vectors))
    return functional.normalize(torch.as_tensor(total), dim=-1)


def baselines(held: Held) -> dict[str, dict[str, float]]:
    """Figures of the plain mean, and of items that are known by one member alone; none for unlike dimensions."""
    vectors = list(held.vectors.values())
    if len({vector.shape[1] for vector in vectors}) > 1:
        return {}
    found = {"plain mean": part_to_item(held, mean_of)}
    for at, modality in enumerate(held.modalities):
        rows = held.present[:, at]
        figures: dict[str, float] = {}
        for name, mask in held.subsets():
            asking = rows & ((held.present & mask).sum(1) == mask.sum())
            if not bool(asking.any()):
                continue
            queries = mean_of([vector[asking] for vector in vectors], mask.expand(int(asking.sum()), -1))
            for k in CUTS:
                figures[f"{name}_to_whole/recall@{k}"] = retrieval_recall(
                    queries, vectors[at][rows], held.groups[asking], held.groups[rows], k
                )
        found[f"{modality} alone"] = figures
    return found


def controls(held: Held, embed: Embed, seed: int) -> dict[str, dict[str, float]]:
    """Figures of the head where modalities know nothing of each other: dealt to other items, and random vectors.

    Only `…_to_rest` is kept: a part finds the whole that contains it, whatever it holds.
    """
    dealt = {
        modality: torch.from_numpy(shuffled(vector.numpy(), seed + at))
        for at, (modality, vector) in enumerate(held.vectors.items())
    }
    noise = {
        modality: torch.from_numpy(random_vectors(len(vector), vector.shape[1], seed + at))
        for at, (modality, vector) in enumerate(held.vectors.items())
    }
    found = {}
    for name, vectors in (("control: dealt to other items", dealt), ("control: random vectors", noise)):
        figures = part_to_item(Held(vectors, held.present, held.groups), embed)
        found[name] = {figure: value for figure, value in figures.items() if "_to_rest/" in figure}
    return found


def subset_of(vectors: Mapping[str, NDArray[np.float32]], rows: NDArray[np.int64]) -> dict[str, Tensor]:
    """The rows of each modality as tensors."""
    return {modality: torch.from_numpy(matrix[rows]) for modality, matrix in vectors.items()}
