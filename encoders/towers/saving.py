"""What towers of every modality do alike with their folders: weights in a given precision, a projection, a record."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from encoders.errors import EncoderLoadError
from encoders.files import read_json, write_bytes, write_json
from encoders.towers.folder import quiet

RECORD = "tower.json"
PROJECTION = "projection.safetensors"
Precision = Literal["float32", "float16"]


def read_record(folder: Path) -> dict[str, Any]:
    """`tower.json`, or nothing where there is none."""
    return read_json(folder / RECORD) if (folder / RECORD).is_file() else {}


def save_backbone(backbone: Any, folder: Path, dtype: Precision) -> None:
    """Write a transformers model as safetensors; the one in memory is left as it is."""
    with quiet():
        copy.deepcopy(backbone).cpu().to(getattr(torch, dtype)).save_pretrained(folder)


def save_state(module: nn.Module, path: Path, dtype: Precision, metadata: dict[str, str] | None = None) -> None:
    """Write a module's tensors as safetensors."""
    target = getattr(torch, dtype)
    state = {name: value.detach().cpu().to(target).contiguous() for name, value in module.state_dict().items()}
    save_file(state, path, metadata)


def save_projection(projection: nn.Linear | None, folder: Path, dtype: Precision) -> None:
    """Write the projection, where there is one."""
    if projection is not None:
        save_state(projection, folder / PROJECTION, dtype)


def load_projection(folder: Path) -> nn.Linear | None:
    """Read the projection, where there is one.

    Raises:
        EncoderLoadError: the file holds something else.
    """
    path = folder / PROJECTION
    if not path.is_file():
        return None
    try:
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
        dimension, hidden = state["weight"].shape
        projection = nn.Linear(hidden, dimension, bias="bias" in state)
        projection.load_state_dict(state)
    except Exception as error:
        raise EncoderLoadError(f"{path}: is not a projection (weight [dim, hidden], bias [dim])") from error
    return projection


def load_state(module: nn.Module, path: Path) -> None:
    """Fill a module from safetensors, upcast to float32.

    Raises:
        EncoderLoadError: the file is damaged, or its tensors are not the module's.
    """
    try:
        module.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    except Exception as error:
        text = " ".join(str(error).split())[:160]
        raise EncoderLoadError(f"{path}: does not hold the weights that tower.json describes ({text})") from error


def write_record(folder: Path, record: dict[str, Any], card: str | None = None) -> None:
    """Write `tower.json`, and README.md where a card is given."""
    write_json(folder / RECORD, record)
    if card is not None:
        write_bytes(folder / "README.md", card.encode())
