"""The fused encoder: several modalities of one item, or those of them that are there, to one vector."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.base import Encoder, EncodeResult, Side
from encoders.contract import EncoderContract
from encoders.errors import EncoderLoadError, InvalidInputError
from encoders.folder import EncoderFolder
from encoders.runtime import Runtime
from encoders.wire import parts_of

PRESENT = "present"
MEMBER_MODALITIES = ("text", "image", "audio", "video")
ROWS = 1024


@dataclass(frozen=True)
class FusedPreprocessing:
    """What stands between raw parts and the head: its member encoders, in the order of the head's inputs.

    Attributes:
        members: their contracts, each of another modality.
    """

    members: tuple[EncoderContract, ...]

    def __post_init__(self) -> None:
        modalities = self.modalities
        if not modalities or len(set(modalities)) < len(modalities) or not set(modalities) <= set(MEMBER_MODALITIES):
            raise EncoderLoadError(
                f"a fused encoder needs members of different modalities out of {', '.join(MEMBER_MODALITIES)}, "
                f"not {', '.join(modalities) or 'none'}"
            )

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the parts, in the order of the head's inputs."""
        return tuple(contract.modality for contract in self.members)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> FusedPreprocessing:
        """Read `to_dict`'s form.

        Raises:
            EncoderLoadError: another record.
        """
        members = record.get("members")
        if not isinstance(members, list):
            raise EncoderLoadError("preprocessing of a fused encoder lacks the contracts of its members")
        return cls(tuple(EncoderContract.from_dict(member) for member in members))

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"members": [json.loads(member.to_json()) for member in self.members]}


class FusedEncoder(Encoder):
    """Items of several parts to vectors of one space.

    An item is a mapping of modality to raw content (`{"text": "red dress", "image": jpeg_bytes}`), or that mapping as
    `encoders.wire.pack` writes it. A part that is None or of no bytes is absent; any subset works that is not empty. A
    part that is there and cannot be encoded is an error of its row: a broken picture is not an absent one.

    Args:
        contract: what the vectors are.
        members: an encoder for each modality, in the order of the head's inputs; closed with this one.
        runtime: takes a float32 [n, dimension] by each modality's name, and `present` bool [n, members].
    """

    def __init__(self, contract: EncoderContract, members: Mapping[str, Encoder], runtime: Runtime) -> None:
        self._contract = contract
        self._members = dict(members)
        self._runtime = runtime

    @classmethod
    def from_folder(
        cls, folder: EncoderFolder, runtime: Runtime, *, threads: int | None = None, **options: Any
    ) -> FusedEncoder:
        """Open an encoder folder on a runtime, and its members with it.

        Args:
            options: modality → limits of that member, `image={"max_pixels": …}` for instance.

        Raises:
            EncoderLoadError: a member that is not found, or an option of another name.
        """
        from encoders.members import open_member

        preprocessing = FusedPreprocessing.from_dict(folder.preprocessing)
        unknown = set(options) - set(preprocessing.modalities)
        if unknown:
            raise EncoderLoadError(
                f"{folder.contract.label}: no option {min(unknown)!r}; give limits by modality: "
                f"{', '.join(preprocessing.modalities)}"
            )
        members: dict[str, Encoder] = {}
        try:
            for member in preprocessing.members:
                limits = dict(options.get(member.modality, {}))
                members[member.modality] = open_member(folder.path, member, threads=threads, **limits)
        except BaseException:
            for opened in members.values():
                opened.close()
            raise
        return cls(folder.contract, members, runtime)

    @property
    def contract(self) -> EncoderContract:
        """What the vectors are."""
        return self._contract

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the parts it takes."""
        return tuple(self._members)

    def encode_tolerant(self, items: Sequence[Any], side: Side = "document") -> EncodeResult:
        """Encode items; bad rows are reported by index and never stop the others."""
        errors: dict[int, str] = {}
        columns: dict[str, dict[int, Any]] = {modality: {} for modality in self._members}
        for row, item in enumerate(items):
            try:
                for modality, part in item_parts(item, self.modalities).items():
                    columns[modality][row] = part
            except InvalidInputError as error:
                errors[row] = error.reason
        vectors: dict[str, NDArray[np.float32]] = {}
        present = np.zeros((len(items), len(self._members)), bool)
        for at, (modality, member) in enumerate(self._members.items()):
            vectors[modality] = np.zeros((len(items), member.contract.dimension), np.float32)
            rows = list(columns[modality])
            if not rows:
                continue
            found = member.encode_tolerant([columns[modality][row] for row in rows], side)
            vectors[modality][rows] = found.vectors
            present[rows, at] = True
            for index, reason in found.errors.items():
                errors.setdefault(rows[index], f"{modality}: {reason}")
        return fuse(self._runtime, vectors, present, errors, self._contract.dimension)

    def close(self) -> None:
        """Release the head and the members."""
        self._runtime.close()
        for member in self._members.values():
            member.close()


def fuse(
    runtime: Runtime,
    vectors: Mapping[str, NDArray[np.float32]],
    present: NDArray[np.bool_],
    errors: Mapping[int, str],
    dimension: int,
) -> EncodeResult:
    """Members' vectors through the head.

    Args:
        vectors: float32 [n, dimension of the member] by modality.
        present: bool [n, members].
        errors: rows that are left out, with reasons.
    """
    result = EncodeResult(np.zeros((len(present), dimension), np.float32), dict(errors))
    for row in np.flatnonzero(~present.any(axis=1)).tolist():
        result.errors.setdefault(row, f"nothing of the item is there (of {', '.join(vectors)})")
    good = np.setdiff1d(np.arange(len(present)), np.fromiter(result.errors, np.int64, len(result.errors)))
    for start in range(0, len(good), ROWS):
        rows = good[start : start + ROWS]
        inputs = {modality: matrix[rows] for modality, matrix in vectors.items()}
        result.fill(rows, runtime.run({**inputs, PRESENT: present[rows]}))
    return result


def item_parts(item: Any, modalities: Sequence[str]) -> dict[str, Any]:
    """Modality → raw content of the parts that are there, texts as they are and everything else as bytes.

    Raises:
        InvalidInputError: not an item, a part of another name, or no part at all.
    """
    found = parts_of(item)
    unknown = sorted(set(found) - set(modalities))
    if unknown:
        raise InvalidInputError(f"a part {unknown[0][:40]!r} is not known; this encoder takes {', '.join(modalities)}")
    parts: dict[str, Any] = {}
    for modality, given in found.items():
        part = given.tobytes() if isinstance(given, np.ndarray) and given.dtype == np.uint8 else given
        if not isinstance(part, (str, bytes, bytearray, memoryview)):
            raise InvalidInputError(f"{modality}: expected text or the bytes of a file, got {type(part).__name__}")
        if len(part):
            parts[modality] = part
    if not parts:
        raise InvalidInputError(f"nothing of the item is there (of {', '.join(modalities)})")
    return parts
