"""Reading what a sentence-transformers folder says in `modules.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from encoders.errors import EncoderLoadError
from encoders.files import read_json
from encoders.media.text import TextPreprocessing
from encoders.weight_files import weight_files

POOLINGS = ("mean", "cls", "max", "mean_sqrt_len_tokens", "lasttoken")
LEGACY = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "Tanh": nn.Tanh,
    "Identity": nn.Identity,
    "ReLU": nn.ReLU,
    "GELU": nn.GELU,
    "Sigmoid": nn.Sigmoid,
}


@dataclass
class SentenceModules:
    """A sentence-transformers pipeline: one transformer, one pooling, dense layers, normalisation.

    Attributes:
        transformer: folder of the transformer.
        pooling: one of `POOLINGS`.
        head: the dense layers, in order.
        normalize: whether the last module is Normalize.
        preprocessing: fields that the folder's root states for the text (prompts).
    """

    transformer: Path
    pooling: str = "mean"
    head: nn.Module | None = None
    normalize: bool = False
    preprocessing: dict[str, Any] = field(default_factory=dict)


def read_modules(folder: Path) -> SentenceModules:
    """Read `modules.json` and what it points to.

    Raises:
        EncoderLoadError: a module that is not understood: served without it, the vectors would be others.
    """
    found: SentenceModules | None = None
    dense: list[nn.Module] = []
    for entry in _entries(folder):
        kind, path = str(entry.get("type", "")).rsplit(".", 1)[-1], _inside(folder, str(entry.get("path", "")))
        if kind == "Transformer" and found is None:
            found = SentenceModules(path)
        elif found is not None and kind == "Pooling":
            found.pooling = _pooling(path)
        elif found is not None and kind == "Dense":
            dense.append(_dense(path))
        elif found is not None and kind == "Normalize":
            found.normalize = True
        elif kind != "Dropout":
            raise EncoderLoadError(
                f"{folder / 'modules.json'}: module {kind} is not supported; "
                "Transformer, Pooling, Dense and Normalize are"
            )
    if found is None:
        raise EncoderLoadError(f"{folder / 'modules.json'}: names no Transformer")
    found.head = nn.Sequential(*dense) if dense else None
    prompts = folder / "config_sentence_transformers.json"
    if found.transformer != folder and prompts.is_file():
        found.preprocessing["prompts"] = TextPreprocessing.prompts_of(read_json(prompts))
    return found


def described_layers(head: nn.Module) -> list[dict[str, Any]]:
    """What `dense_layers` needs to build a head again; empty for one without layers."""
    described = []
    for dense in head.children():
        layer, activation = dense.children()
        described.append(
            {
                "in_features": layer.in_features,
                "out_features": layer.out_features,
                "bias": layer.bias is not None,
                "activation": type(activation).__name__,
            }
        )
    return described


def dense_layers(described: list[dict[str, Any]]) -> nn.Module:
    """Untrained layers of the shapes that `described_layers` gave.

    Raises:
        KeyError, TypeError: they are not described so.
    """
    return nn.Sequential(
        *(
            nn.Sequential(
                nn.Linear(int(layer["in_features"]), int(layer["out_features"]), bias=bool(layer["bias"])),
                ACTIVATIONS[layer["activation"]](),
            )
            for layer in described
        )
    )


def _entries(folder: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderLoadError(f"{folder / 'modules.json'}: cannot be read ({error})") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise EncoderLoadError(f"{folder / 'modules.json'}: is not a list of modules")
    return entries


def _inside(folder: Path, relative: str) -> Path:
    path = folder / relative
    if not path.resolve().is_relative_to(folder.resolve()) and ".." in Path(relative).parts:
        raise EncoderLoadError(f"{folder / 'modules.json'}: path {relative!r} leads out of the folder")
    return path


def _pooling(path: Path) -> str:
    config = read_json(path / "config.json")
    stated = config.get("pooling_mode") or [name for key, name in LEGACY.items() if config.get(key)] or ["mean"]
    modes = [stated] if isinstance(stated, str) else list(stated)
    if len(modes) != 1 or modes[0] not in POOLINGS or not config.get("include_prompt", True):
        raise EncoderLoadError(
            f"{path}: pooling {modes} is not supported; one of {', '.join(POOLINGS)}, prompt included, is"
        )
    return str(modes[0])


def _dense(path: Path) -> nn.Module:
    config = read_json(path / "config.json")
    activation = str(config.get("activation_function") or "Identity").rsplit(".", 1)[-1]
    if activation not in ACTIVATIONS or config.get("use_residual"):
        raise EncoderLoadError(f"{path}: a dense layer with {activation} is not supported")
    try:
        state = load_file(weight_files(path)[0])
        layer = nn.Linear(int(config["in_features"]), int(config["out_features"]), bias=bool(config.get("bias", True)))
        layer.load_state_dict({name.removeprefix("linear."): tensor.float() for name, tensor in state.items()})
    except EncoderLoadError:
        raise
    except Exception as error:
        raise EncoderLoadError(
            f"{path}: the dense layer cannot be read ({' '.join(str(error).split())[:160]})"
        ) from error
    return nn.Sequential(layer, ACTIVATIONS[activation]())
