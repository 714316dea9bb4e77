"""The contracts of the shipped encoders, as tracked JSON: known without torch, transformers or the weights.

A test holds them to what exporting the weights yields.
"""

from __future__ import annotations

import json
from pathlib import Path

from encoders.contract import EncoderContract
from encoders.errors import EncoderLoadError
from encoders.files import write_bytes


def default_contract(name: str) -> EncoderContract:
    """Contract of the shipped encoder `text`, `image`, `audio`, `video` or `fused`.

    Raises:
        EncoderLoadError: there is none of that name.
    """
    path = contract_path(name)
    if not path.is_file():
        known = sorted(found.stem for found in Path(__file__).parent.glob("*.json"))
        raise EncoderLoadError(f"no default encoder {name!r} is shipped; there is {', '.join(known)}")
    return EncoderContract.from_json(path.read_text(encoding="utf-8"))


def contract_path(name: str) -> Path:
    """Where the contract of a shipped encoder is tracked."""
    return Path(__file__).parent / f"{name}.json"


def write_contract(tower_folder: str | Path, name: str) -> EncoderContract:
    """Track the contract of new default weights; call it whenever the weights of a shipped encoder change.

    Args:
        tower_folder: the weights (`encoders/weights/image`, say).
        name: of the encoder.
    """
    from encoders.exporting import contract_of, open_tower
    from encoders.source import Source

    source = Source(Path(tower_folder), name, f"shipped default {name}", name)
    contract = contract_of(source, open_tower(source), name, 1)
    text = json.dumps(json.loads(contract.to_json()), indent=2, sort_keys=True)
    write_bytes(contract_path(name), (text + "\n").encode())
    return contract
