"""Missing modalities as policy: what a space does with an item that lacks one of its inputs, and how a hit says so."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, cast, get_args

from connector.errors import ConfigurationError
from encoders.contract import EncoderContract, find_aligned
from encoders.fused import MEMBER_MODALITIES

Missing = Literal["absent", "impute", "error"]
Parts = tuple[tuple[str, tuple[str, ...]], ...]
Inputs = str | Sequence[str] | Mapping[str, str | Sequence[str]]

MODALITIES = "modalities"
"""Field that says which modalities a row's vector was made of."""

IMPUTED = ":imputed"


def read_inputs(inputs: Inputs, contract: EncoderContract) -> Parts:
    """`inputs=` of a view as modality → columns; an input without a modality is the encoder's own."""
    given = inputs if isinstance(inputs, Mapping) else {contract.modality: inputs} if inputs else {}
    parts = ((modality, (names,) if isinstance(names, str) else tuple(names)) for modality, names in given.items())
    return tuple((modality, names) for modality, names in parts if names)


def parts_of_json(text: str) -> Parts:
    """Modality → columns, as a view's tag holds them.

    Raises:
        ValueError, TypeError: another text.
    """
    record = json.loads(text)
    if not isinstance(record, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in record.values()
    ):
        raise TypeError(f"expected columns by modality, found {text[:80]}")
    return tuple((modality, tuple(names)) for modality, names in record.items())


def missing_of(text: str) -> Missing:
    """The policy that a view's tag names.

    Raises:
        ValueError: there is no such policy.
    """
    if text not in get_args(Missing):
        raise ValueError(f"missing={text!r}")
    return cast(Missing, text)


def says_modalities(contract: EncoderContract, missing: str) -> bool:
    """Whether a space of that encoder and policy has rows of different modalities."""
    return contract.modality == "fused" or missing == "impute"


def check_missing(
    space: str, contract: EncoderContract, parts: Parts, missing: str, queries: Iterable[EncoderContract]
) -> None:
    """Check that a space's inputs fit its encoder and its policy.

    Raises:
        ConfigurationError: names what does not, and what to do.
    """
    if missing not in get_args(Missing):
        raise ConfigurationError(f"space {space}: missing={missing!r}; use {', '.join(get_args(Missing))}")
    names = [modality for modality, _ in parts]
    if missing == "impute" and not parts:
        raise ConfigurationError(f"space {space}: ready vectors cannot be imputed; use inputs=, or another missing=")
    if contract.modality == "fused":
        unknown = [name for name in names if name not in MEMBER_MODALITIES]
        if unknown:
            raise ConfigurationError(
                f"space {space}: a fused encoder takes inputs by modality, not {unknown[0]!r}; give "
                'inputs={"text": "title", "image": "photo"}'
            )
        return
    others = [name for name in names if name != contract.modality]
    if missing != "impute":
        if others:
            raise ConfigurationError(
                f"space {space}: {others[0]} can only stand in where the {contract.modality} is missing; "
                f'say missing="impute", or leave inputs of {others[0]} out'
            )
        return
    if contract.modality not in names or not others:
        raise ConfigurationError(
            f'space {space}: missing="impute" needs inputs by modality: its own ({contract.modality}), and one to make '
            f'the vector from where that is missing, inputs={{"{contract.modality}": "…", "text": "…"}}'
        )
    offered = list(queries)
    for other in others:
        if find_aligned(contract, offered, other) is None:
            raise ConfigurationError(
                f"space {space}: no {other} encoder in its space is among queries=, so {other} cannot stand in for "
                f"{contract.modality}; name one that is aligned with {contract.label}"
            )


def modality_label(wanted: Iterable[str], found: Collection[str]) -> str:
    """`image,text` for an item that has both, `image:imputed,text` for one without a picture; in alphabetical order."""
    return ",".join(name if name in found else name + IMPUTED for name in sorted(wanted))
