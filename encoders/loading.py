"""`load`: from a name, an id or a folder to an encoder that runs here."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree
from typing import Any, Literal

from encoders.base import Encoder
from encoders.errors import EncoderLoadError
from encoders.folder import EncoderFolder, is_encoder_folder
from encoders.registry import REGISTRY
from encoders.source import Source, default_name, require_name, resolve

GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
RuntimeName = Literal["auto", "onnx", "torch"]


def load(
    source: str | Path,
    *,
    name: str | None = None,
    version: int | None = None,
    modality: str | None = None,
    runtime: RuntimeName = "auto",
    threads: int | None = None,
    **options: Any,
) -> Encoder:
    """Load an encoder into this process.

    Args:
        source: `text`, `image`, `audio`, `video` or `fused` (the shipped defaults), a Hugging Face id, or a folder: of
            a Hugging Face or sentence-transformers model, a tower, or an encoder.
        name: encoder name in the contract; default: what the source is called.
        version: encoder version in the contract; default 1, or what an encoder folder says.
        modality: which tower of a source that has two (CLIP, SigLIP); default: image.
        runtime: `onnx`, `torch`, or `auto`: torch for model folders where a GPU is there, else ONNX Runtime. Under
            ONNX a model folder is exported on first use and kept in the user's cache folder.
        threads: default: $ENCODER_THREADS, else the processors this process may use.
        options: limits of the encoder class, `max_bytes` for instance.

    Raises:
        EncoderLoadError: a source that cannot be loaded; names it and the remedy.
    """
    if runtime not in {"auto", "onnx", "torch"}:
        raise EncoderLoadError(f"runtime {runtime!r} is unknown; use 'auto', 'onnx' or 'torch'")
    found = resolve(source, modality)
    folder: EncoderFolder | None = None
    if is_encoder_folder(found.path):
        folder = EncoderFolder.open(found.path)
        if runtime == "torch":
            raise EncoderLoadError(f"{source}: an encoder folder holds an ONNX graph; load it with runtime='onnx'")
        folder = folder.under(name or folder.contract.name, version or folder.contract.version)
        require_name(folder.contract.name)
    else:
        chosen = require_name(name or found.default or default_name(found.label))
        if runtime == "torch" or (runtime == "auto" and _gpu_with_torch()):
            return _on_torch(found, chosen, version or 1, options)
        folder = _exported(found, chosen, version or 1)
    from encoders.runtime.onnx import OnnxRuntime

    if folder.contract.modality == "fused":
        options = {"threads": threads, **options}
    encoder: Encoder = REGISTRY.encoder_class(folder.contract.modality).from_folder(
        folder, OnnxRuntime(folder.graph, threads=threads), **options
    )
    return encoder


def _exported(source: Source, name: str, version: int) -> EncoderFolder:
    from encoders.cache import exported

    found = exported(source)
    if source.default:
        return found.under(name, version)
    # The kept folder bears a name of its own, which says nothing about the one asked for.
    return replace(found, contract=replace(found.contract, name=name, version=version))


def _on_torch(source: Source, name: str, version: int, options: dict[str, Any]) -> Encoder:
    import tempfile

    from encoders.exporting import contract_of, open_tower
    from encoders.files import write_bytes
    from encoders.runtime.torch import TorchRuntime

    tower = open_tower(source)
    described, served = tower.describe(), tower.served()
    contract = contract_of(source, tower, name, version)
    inputs = tuple(served.sample(1, 0))
    with tempfile.TemporaryDirectory() as scratch:
        folder = EncoderFolder(Path(scratch), contract, described.preprocessing, source.label)
        for file_name, content in described.files.items():
            write_bytes(folder.path / file_name, content)
        for place_name, place in described.folders.items():
            copytree(place, folder.path / place_name)
        encoder: Encoder = REGISTRY.encoder_class(contract.modality).from_folder(
            folder, TorchRuntime(served.module, inputs), **options
        )
    return encoder


def _gpu_with_torch() -> bool:
    # Importing torch takes seconds and hundreds of megabytes, so look for a driver first.
    if find_spec("torch") is None or not any(Path(device).exists() for device in GPU_DEVICES):
        return False
    import torch

    return torch.cuda.is_available()
