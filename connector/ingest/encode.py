"""Vectors of a batch for one space: encoded from raw inputs, or read ready from a column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connector.errors import ContractMismatchError
from connector.ingest.batch import Problem, as_problems
from connector.ingest.impute import ImputingEncoder
from connector.ingest.media import MediaSource
from connector.ingest.parts import PartReader
from connector.ingest.stages import StageClock
from connector.ingest.vectors import read_vectors, vector_faults
from connector.missing import modality_label
from connector.spaces import EmbeddingSpace
from encoders.base import Encoder
from encoders.wire import NO_SOUND

CHUNK_BYTES = 32 * 1024 * 1024
MISSING = "missing modality"
# Of an encoder of sounds, and of one that takes items of several parts.
SILENT = frozenset({NO_SOUND, f"audio: {NO_SOUND}"})


@dataclass
class Vectors:
    """What a batch gives one space; every candidate row is in exactly one of the three.

    Attributes:
        rows: int64 [m], rows of the batch that have a vector, ascending.
        vectors: float32 [m, dimension].
        absent: rows without that modality.
        problems: rows that have it but cannot be used, or must have it and do not.
        modalities: what each row's vector was made of, for spaces that say so.
    """

    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]
    absent: int = 0
    problems: list[Problem] = field(default_factory=list)
    modalities: list[str] | None = None


class VectorSource(ABC):
    """Makes the vectors of one space. Safe to call from several threads."""

    @abstractmethod
    def vectors(self, columns: dict[str, pa.Array], candidates: NDArray[np.int64]) -> Vectors:
        """Vectors of the candidate rows (int64, ascending) of a batch."""


class ReadyVectors(VectorSource):
    """A column that already holds the vectors."""

    def __init__(self, space: EmbeddingSpace) -> None:
        self._space = space

    def vectors(self, columns: dict[str, pa.Array], candidates: NDArray[np.int64]) -> Vectors:
        name, contract = self._space.inputs[0], self._space.contract
        count = int(candidates[-1]) + 1 if len(candidates) else 0
        column = columns.get(name, pa.nulls(count))
        rows, vectors, failures = read_vectors(column, contract.dimension, contract.metric, candidates)
        problems = as_problems(failures, "bad vector", name, self._space.name)
        if self._space.missing == "error":
            lacking = np.setdiff1d(candidates, [*rows.tolist(), *failures]).tolist()
            problems += as_problems(dict.fromkeys(lacking, "no vector"), MISSING, name, self._space.name)
        return Vectors(rows, vectors, len(candidates) - len(rows) - len(problems), problems)


class EncodedVectors(VectorSource):
    """Inputs of a catalogue through an encoder, in chunks of bounded size.

    Args:
        encoder: carries the space's contract.
        media: where media cells are read.
        chunk_rows: inputs handed to the encoder at once.
        clock: takes the stages `fetch <space>` and `encode <space>`.
        stand_ins: modality → encoder that makes the vector of an item without the space's own modality.
    """

    def __init__(
        self,
        space: EmbeddingSpace,
        encoder: Encoder,
        media: MediaSource,
        *,
        chunk_rows: int,
        max_text_bytes: int,
        clock: StageClock,
        stand_ins: Mapping[str, Encoder] | None = None,
    ) -> None:
        self._space = space
        self._encoder = ImputingEncoder(encoder, stand_ins) if stand_ins else encoder
        self._reader = PartReader(space.name, media, max_text_bytes)
        self._chunk_rows = chunk_rows
        self._clock = clock

    def vectors(self, columns: dict[str, pa.Array], candidates: NDArray[np.int64]) -> Vectors:
        problems: list[Problem] = []
        rows: list[int] = []
        made: list[NDArray[np.float32]] = []
        modalities: list[str] = []
        given = 0
        source = self._inputs(columns, candidates)
        for chunk in self._chunks(self._clock.timed(source, f"fetch {self._space.name}")):
            inputs = [(row, item) for row, item in chunk if not isinstance(item, Problem)]
            problems += [item for _, item in chunk if isinstance(item, Problem)]
            given += len(chunk)
            while inputs:
                with self._clock.measure(f"encode {self._space.name}"):
                    vectors, failures = self._encode([item for _, item in inputs])
                kept = [at for at in range(len(inputs)) if at not in failures]
                rows += [inputs[at][0] for at in kept]
                if self._space.says_modalities:
                    modalities += [modality_label(self._space.wanted, inputs[at][1]) for at in kept]
                made.append(vectors[kept] if failures else vectors)
                silent = [at for at, reason in failures.items() if reason in SILENT and self._heard(inputs[at][1])]
                at_rows = {inputs[at][0]: failures[at] for at in failures if at not in silent}
                problems += as_problems(at_rows, "not encodable", self._column(columns), self._space.name)
                inputs, unheard = self._without_sound([inputs[at] for at in silent])
                problems += unheard
                given -= len(silent) - len(inputs) - len(unheard)
        dimension = self._space.contract.dimension
        matrix = np.concatenate(made) if made else np.empty((0, dimension), dtype=np.float32)
        order = np.argsort(np.array(rows, dtype=np.int64), kind="stable")
        said = [modalities[at] for at in order] if self._space.says_modalities else None
        return Vectors(np.array(rows, dtype=np.int64)[order], matrix[order], len(candidates) - given, problems, said)

    def _heard(self, item: Any) -> bool:
        """Whether an item has a part that an encoder of sounds is asked about."""
        return "audio" in item if isinstance(item, Mapping) else self._space.contract.modality == "audio"

    def _without_sound(self, silent: list[tuple[int, Any]]) -> tuple[list[tuple[int, Any]], list[Problem]]:
        """What the policy makes of films without a sound track: items to be encoded from the rest, and problems.

        Those in neither are left out.
        """
        space = self._space
        if space.missing == "error":
            names = ",".join(dict(space.parts).get("audio", space.inputs))
            return [], [
                Problem(row, MISSING, f"no audio (the file {NO_SOUND})", names, space.name) for row, _ in silent
            ]
        if space.missing != "impute":
            return [], []
        rest = [(row, {name: part for name, part in item.items() if name != "audio"}) for row, item in silent]
        return [(row, item) for row, item in rest if item], []

    def _inputs(self, columns: dict[str, pa.Array], candidates: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
        """Row and what its vector is made of, or the problem with it; rows that are to have none are left out."""
        space = self._space
        own = space.contract.modality
        if not space.parts and space.missing == "absent":
            yield from self._reader.read(own, space.inputs, columns, candidates)
            return
        parts = dict(space.parts) or {own: space.inputs}
        for row, found in self._reader.read_together(parts, columns, candidates):
            if isinstance(found, Problem):
                yield row, found
                continue
            lacking = [modality for modality in space.wanted if modality not in found]
            if lacking and space.missing == "error":
                names = ",".join(name for modality in lacking for name in parts[modality])
                yield row, Problem(row, MISSING, f"no {' and no '.join(lacking)}", names, space.name)
            elif found and (not lacking or space.missing == "impute"):
                yield row, found if space.parts else found[own]

    def _encode(self, items: list[Any]) -> tuple[NDArray[np.float32], dict[int, str]]:
        contract = self._space.contract
        result = self._encoder.encode_tolerant(items, "document")
        if result.vectors.shape != (len(items), contract.dimension):
            raise ContractMismatchError(
                f"space {self._space.name}: the encoder gave vectors of shape {result.vectors.shape} for {len(items)} "
                f"inputs, its contract {contract.label} says dimension {contract.dimension}; publish it again"
            )
        vectors = np.asarray(result.vectors, dtype=np.float32)
        failures = {at: reason or "no reason given" for at, reason in result.errors.items() if 0 <= at < len(items)}
        for at, reason in vector_faults(vectors, contract.metric).items():
            failures.setdefault(at, f"its vector {reason}")
        return vectors, failures

    def _chunks(self, items: Iterator[tuple[int, Any]]) -> Iterator[list[tuple[int, Any]]]:
        chunk: list[tuple[int, Any]] = []
        size = 0
        for row, item in items:
            chunk.append((row, item))
            size += _size(item)
            if len(chunk) >= self._chunk_rows or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def _column(self, columns: dict[str, pa.Array]) -> str:
        return ",".join(name for name in self._space.inputs if name in columns)


def _size(item: Any) -> int:
    if isinstance(item, dict):
        return sum(map(_size, item.values()))
    return len(item) if isinstance(item, (bytes, str)) else 0
