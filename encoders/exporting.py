"""Exporting: any source of weights → an encoder folder."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from encoders.contract import HASH_LENGTH, EncoderContract
from encoders.errors import EncoderLoadError
from encoders.files import new_folder, sha256_of_json, write_bytes, write_json
from encoders.folder import (
    GRAPH,
    RECORD,
    EncoderFolder,
    is_encoder_folder,
    record_of,
    require_graph,
    write_graph_record,
)
from encoders.members import MEMBERS
from encoders.registry import REGISTRY
from encoders.source import Source, require_name, resolve
from encoders.weight_files import model_hash, weights_hash


def export(
    source: str | Path, folder: str | Path, *, name: str, version: int = 1, modality: str | None = None
) -> EncoderContract:
    """Write an encoder folder, replacing one that is there, all of it or nothing.

    Args:
        source: `text`, `image`, `audio`, `video` or `fused` (the shipped defaults), a Hugging Face id, or a folder: of
            a Hugging Face or sentence-transformers model, a tower, or an encoder.
        folder: where the encoder folder will lie.
        name: encoder name, letters, digits, `_`, `-` and `.`; also the Triton model name.
        version: encoder version, ≥ 1.
        modality: which tower of a source that has two (CLIP, SigLIP); default: image.

    Raises:
        EncoderLoadError: a source that cannot be loaded or exported; names it and the remedy.
    """
    require_name(name)
    found = resolve(source, modality)
    target = Path(folder)
    if is_encoder_folder(found.path):
        return _copy(EncoderFolder.open(found.path).under(name, version), target)
    tower = open_tower(found)
    contract = contract_of(found, tower, name, version)
    with new_folder(target) as filling:
        write_tower(found, tower, contract, filling)
    return contract


def open_tower(source: Source) -> Any:
    """The torch module of a resolved source."""
    return REGISTRY.tower_class(source.modality).from_folder(source.path)


def contract_of(source: Source, tower: Any, name: str, version: int) -> EncoderContract:
    """The contract of a tower under a name; what is aligned with it is so under every name."""
    described = tower.describe()
    base = EncoderContract(
        name=source.default or name,
        version=1 if source.default else version,
        modality=described.modality,
        dimension=described.dimension,
        metric=described.metric,
        pooling=described.pooling,
        normalized=described.normalized,
        max_input=described.max_input,
        weights_hash=weights_hash(source.path),
        preprocessing_hash=sha256_of_json(described.preprocessing),
        aligned_with=described.aligned_with,
    )
    if source.default:
        return base.renamed(name, version)
    return replace(base, aligned_with=(*base.aligned_with, own_space(source, described.spans)))


def own_space(source: Source, spans: str | None = None) -> str:
    """Name of the space that an encoder spans by itself, whatever it is called: a hash of all it is made of.

    Args:
        spans: modality of the tower that spans it; default: the source's.
    """
    made_of = f"space:{spans or source.modality}:{model_hash(source.path)}"
    return hashlib.sha256(made_of.encode()).hexdigest()[:HASH_LENGTH]


def write_tower(source: Source, tower: Any, contract: EncoderContract, folder: Path) -> None:
    """Write graph, record and further files of a tower into an existing folder.

    Raises:
        EncoderLoadError: the tower cannot be exported.
    """
    from encoders.graph import write_graph

    described = tower.describe()
    backbone: Any = getattr(tower, "backbone", None)
    if hasattr(backbone, "set_attn_implementation"):
        # Written out, attention gives a graph that ONNX Runtime runs faster by a fifth than torch's fused one.
        backbone.set_attn_implementation("eager")
    try:
        write_graph(tower.served(), folder / GRAPH)
    except EncoderLoadError as error:
        raise EncoderLoadError(f"{source.label}: {error}") from error
    write_graph_record(folder, contract)
    for name, content in described.files.items():
        write_bytes(folder / name, content)
    for name, place in described.folders.items():
        shutil.copytree(place, folder / name)
    write_json(folder / RECORD, record_of(contract, described.preprocessing, source.label))


def _copy(found: EncoderFolder, target: Path) -> EncoderContract:
    if target.resolve() == found.path.resolve():
        raise EncoderLoadError(f"{target}: cannot be exported onto itself; name another folder")
    require_graph(found.path, found.contract)
    with new_folder(target) as filling:
        for path in found.path.iterdir():
            if path.is_file() and not path.is_symlink() and path.name != RECORD:
                shutil.copyfile(path, filling / path.name)
        if (found.path / MEMBERS).is_dir():
            shutil.copytree(found.path / MEMBERS, filling / MEMBERS)
        write_json(filling / RECORD, found.record())
    return found.contract
