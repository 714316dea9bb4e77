"""The member encoders of a fused one: found beside it, in its model repository, or among the shipped defaults."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from encoders.base import Encoder
from encoders.contract import EncoderContract
from encoders.errors import EncoderLoadError
from encoders.folder import GRAPH, EncoderFolder, is_encoder_folder

MEMBERS = "members"


def open_member(fused: Path, contract: EncoderContract, *, threads: int | None = None, **limits: Any) -> Encoder:
    """Load the member of a fused encoder that `contract` names.

    Args:
        fused: the fused encoder's folder.
        limits: of the member's class.

    Raises:
        EncoderLoadError: it is nowhere.
    """
    from encoders.loading import load

    source = find_member(fused, contract)
    return load(source, name=contract.name, version=contract.version, runtime="onnx", threads=threads, **limits)


def find_member(fused: Path, contract: EncoderContract) -> str | Path:
    """Folder of a member, or the name of the shipped default that it is.

    Looked for in `members/<modality>` of the fused encoder's folder, then in the model repository that the folder lies
    in, then among the shipped defaults; only what has this very contract is taken.

    Raises:
        EncoderLoadError: it is nowhere.
    """
    places = (fused / MEMBERS / contract.modality, fused.parent.parent / contract.name / str(contract.version))
    for place in places:
        if is_encoder_folder(place) and (place / GRAPH).is_file():
            found = EncoderFolder.open(place).contract
            if found.hash == contract.hash:
                return place
    default = shipped_as(contract)
    if default is not None:
        return default
    raise EncoderLoadError(
        f"{fused}: its {contract.modality} encoder {contract.label} is neither in {MEMBERS}/{contract.modality}, "
        "nor in the model repository, nor shipped; publish that encoder under its name and version, "
        "or copy the folder whole"
    )


def shipped_as(contract: EncoderContract) -> str | None:
    """Name of the shipped default that has a contract, under whatever name and version; None for another encoder."""
    from encoders.defaults import default_contract
    from encoders.source import DEFAULTS

    for name in DEFAULTS:
        with suppress(EncoderLoadError):
            if default_contract(name).renamed(contract.name, contract.version).hash == contract.hash:
                return name
    return None
