"""The encoder contract: the record that says which vectors may be compared with which."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args

from encoders.errors import ContractMismatchError, EncoderLoadError

Modality = Literal["text", "image", "audio", "video", "sequence", "fused"]
Metric = Literal["COSINE", "IP", "L2"]

HASH_LENGTH = 16

FIELD_TYPES: dict[str, type] = {
    "name": str,
    "version": int,
    "modality": str,
    "dimension": int,
    "metric": str,
    "pooling": str,
    "normalized": bool,
    "max_input": int,
    "weights_hash": str,
    "preprocessing_hash": str,
    "aligned_with": tuple,
}


@dataclass(frozen=True)
class EncoderContract:
    """What one version of one encoder promises about its vectors.

    Attributes:
        name: encoder name; also the Triton model name.
        version: encoder version, ≥ 1; also the Triton model version.
        modality: what goes in.
        dimension: length of a vector, ≥ 1.
        metric: Milvus metric that the vectors were trained for.
        pooling: how token or patch states become one vector (`mean`, `cls`, `pooler`, `projection`, `external`).
        normalized: whether vectors have unit L2 norm.
        max_input: the most of an input that is used: tokens for text, pixels of the short side for images.
        weights_hash: sha256 of the source weights (not of an exported graph), hexadecimal.
        preprocessing_hash: sha256 of everything between raw bytes and the network's input.
        aligned_with: hashes of contracts whose vectors live in the same space (the text tower of an image encoder),
            or names of spaces: of the weights that two towers were trained in together, or of the encoder itself,
            which keeps that one under every name.
    """

    name: str
    version: int
    modality: Modality
    dimension: int
    metric: Metric
    pooling: str
    normalized: bool
    max_input: int
    weights_hash: str
    preprocessing_hash: str
    aligned_with: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = [name for name, kind in FIELD_TYPES.items() if type(getattr(self, name)) is not kind]
        if wrong or not all(isinstance(value, str) for value in self.aligned_with):
            raise EncoderLoadError(f"contract {self.name}: {', '.join(wrong) or 'aligned_with'} of the wrong type")
        if self.version < 1 or self.dimension < 1:
            raise EncoderLoadError(f"contract {self.name}: version and dimension must be at least 1")
        if self.modality not in get_args(Modality) or self.metric not in get_args(Metric):
            raise EncoderLoadError(
                f"contract {self.name}: unknown modality {self.modality!r} or metric {self.metric!r}; "
                f"use one of {get_args(Modality)} and {get_args(Metric)}"
            )

    @cached_property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the sha256 of the canonical JSON form."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:HASH_LENGTH]

    @property
    def label(self) -> str:
        """`name/version (hash)`, for messages."""
        return f"{self.name}/{self.version} ({self.hash})"

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> EncoderContract:
        """Read `to_json`'s form.

        Raises:
            EncoderLoadError: not JSON, or fields missing, unknown or of another type.
        """
        try:
            return cls.from_dict(json.loads(text))
        except json.JSONDecodeError as error:
            raise EncoderLoadError(f"an encoder contract is not JSON: {error}") from error

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> EncoderContract:
        """Read a decoded JSON object.

        Raises:
            EncoderLoadError: fields missing, unknown or of another type.
        """
        if not isinstance(record, dict):
            raise EncoderLoadError(f"an encoder contract is a JSON object, not {type(record).__name__}")
        known = {field.name for field in fields(cls)}
        unknown, missing = set(record) - known, known - set(record) - {"aligned_with"}
        if unknown or missing:
            raise EncoderLoadError(
                f"an encoder contract has unknown fields {sorted(unknown)} or lacks {sorted(missing)}"
            )
        aligned_with = record.get("aligned_with", ())
        return cls(
            **{**record, "aligned_with": tuple(aligned_with) if isinstance(aligned_with, list) else aligned_with}
        )

    def renamed(self, name: str, version: int) -> EncoderContract:
        """The same encoder published under another name and version; it stays in the space it was in."""
        if (name, version) == (self.name, self.version):
            return self
        return replace(self, name=name, version=version, aligned_with=(*self.aligned_with, self.hash))

    def shares_space_with(self, other: EncoderContract) -> bool:
        """Whether vectors of the two contracts may be compared: one names the other, or both name a third."""
        return not {self.hash, *self.aligned_with}.isdisjoint({other.hash, *other.aligned_with})


def external_contract(
    name: str, *, version: int, dimension: int, modality: Modality, metric: Metric = "COSINE", origin: str = ""
) -> EncoderContract:
    """Contract of vectors that were made elsewhere and are brought in ready.

    Args:
        origin: what made them (a model id, say); part of the hash.
    """
    source = hashlib.sha256(f"external:{origin or name}".encode()).hexdigest()
    return EncoderContract(
        name=name,
        version=version,
        modality=modality,
        dimension=dimension,
        metric=metric,
        pooling="external",
        normalized=False,
        max_input=0,
        weights_hash=source,
        preprocessing_hash=source,
    )


def require_shared_space(first: EncoderContract, second: EncoderContract, where: str = "") -> None:
    """Raise `ContractMismatchError`, naming both, unless vectors of the two may be compared."""
    if not first.shares_space_with(second):
        place = f"{where}: " if where else ""
        raise ContractMismatchError(
            f"{place}vectors of {first.label} and {second.label} do not share a space; "
            "encode both sides with one contract, or name an encoder that is aligned with it"
        )


def find_aligned(
    contract: EncoderContract, candidates: Iterable[EncoderContract], modality: str
) -> EncoderContract | None:
    """The first candidate of `modality` that shares a space with `contract`, or None."""
    return next((c for c in candidates if c.modality == modality and c.shares_space_with(contract)), None)
