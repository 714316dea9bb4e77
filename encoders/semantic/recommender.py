"""Asking a model that writes semantic ids for the next items, by their own ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.errors import EncoderLoadError, InvalidInputError
from encoders.histories import read_history
from encoders.semantic.generator import SemanticIdModel

ROWS = 32
# Of the scores of one level, which a search holds at once: 64 MiB in float32.
CELLS = 1 << 24


@dataclass(frozen=True)
class Recommendation:
    """What may come next in one history, best first.

    Attributes:
        items: ids.
        scores: their log-probabilities, float32 [len(items)].
    """

    items: list[str]
    scores: NDArray[np.float32]


class Recommender:
    """A model with the ids of its items.

    Args:
        module: the model; it is put into evaluation mode, and asked where its parameters lie.
        items: ids by number, from 0 on, in the order of the model's trie.
        beams: ids that its search keeps at each level.

    Raises:
        EncoderLoadError: not as many items as the model has semantic ids, or one of them twice.
    """

    def __init__(self, module: SemanticIdModel, items: Sequence[str], beams: int) -> None:
        self.module, self.items, self.beams = module.eval(), tuple(items), beams
        self._numbers = {item: number for number, item in enumerate(self.items)}
        if not len(self._numbers) == len(self.items) == len(module.trie.ids):
            raise EncoderLoadError(
                f"{len(module.trie.ids)} semantic ids for {len(self.items)} items, {len(self._numbers)} of them "
                "distinct: every item needs one of its own; train the model again"
            )

    def recommend(self, histories: Sequence[Any], k: int = 20) -> list[Recommendation]:
        """The `k` items that are likeliest to come next in each history.

        A history is anything `encoders.histories.read_history` takes as item ids, oldest first. Items that the model
        was not trained on are passed over; of the others it reads the newest, and none of them is recommended.

        Args:
            k: how many; fewer come where fewer items are left. A search keeps at least as many ids at each level.

        Raises:
            InvalidInputError: a history that is none, is empty or holds no item that the model knows, by its position;
                `k` below 1.
        """
        if k < 1:
            raise InvalidInputError(f"k is {k}; ask for at least one item")
        if isinstance(histories, (str, bytes, Mapping)):
            raise InvalidInputError(f"expected a list of histories, got {type(histories).__name__}; put it into a list")
        known = [self._known(history, position) for position, history in enumerate(histories)]
        found, scores = next_items(self.module, known, min(max(k, self.beams), len(self.items)))
        return [
            Recommendation([self.items[number] for number in row[row >= 0][:k]], values[row >= 0][:k])
            for row, values in zip(found, scores, strict=True)
        ]

    def _known(self, raw: Any, position: int) -> NDArray[np.int64]:
        try:
            names = read_history(raw).ids
        except InvalidInputError as error:
            raise InvalidInputError(error.reason, position) from error
        if names is None:
            raise InvalidInputError("this model takes item ids, not content vectors", position)
        if not names:
            raise InvalidInputError("the history is empty", position)
        numbers = [number for name in names if (number := self._numbers.get(name)) is not None]
        if not numbers:
            reason = f"none of the history's {len(names)} items ({names[0][:80]!r}, …) was there in training"
            raise InvalidInputError(reason, position)
        return np.asarray(numbers, np.int64)


def next_items(
    module: SemanticIdModel, histories: Sequence[NDArray[np.int64]], beams: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What a search finds for each history that is not in it.

    Args:
        histories: item numbers from 0 on, oldest first. The newest are read; all are left out, and take no room.
        beams: ids kept at each level, and found in the end.

    Returns:
        Item numbers int64 [n, beams], best first, -1 where fewer are left, and their log-probabilities, float32.
    """
    module.eval()
    device, longest = next(module.parameters()).device, module.shape.longest
    at_once = max(1, min(ROWS, CELLS // (beams * max(module.trie.sizes))))
    found = np.full((len(histories), beams), -1, np.int64)
    scores = np.full((len(histories), beams), -np.inf, np.float32)
    for start in range(0, len(histories), at_once):
        part = slice(start, start + at_once)
        past = _padded(histories[part], max(map(len, histories[part])))
        rows, without = (torch.from_numpy(array).to(device) for array in (_padded(histories[part], longest), past - 1))
        items, chances = module.generate(rows, beams, without=without)
        found[part], scores[part] = items.cpu().numpy(), chances.cpu().numpy()
    return found, scores


def _padded(histories: Sequence[NDArray[np.int64]], length: int) -> NDArray[np.int64]:
    """The newest `length` items of each, numbers + 1, padded with 0 on the left → int64 [n, length]."""
    rows = np.zeros((len(histories), length), np.int64)
    for row, history in zip(rows, histories, strict=True):
        recent = history[-length:] + 1
        row[length - len(recent) :] = recent
    return rows
