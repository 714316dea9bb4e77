"""Encoders that were exported in order to be loaded: kept, so that it happens once per source."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from encoders.errors import EncoderLoadError
from encoders.exporting import contract_of, open_tower, write_tower
from encoders.files import new_folder
from encoders.folder import EncoderFolder, is_encoder_folder
from encoders.source import Source, default_name
from encoders.weight_files import model_hash

# Raised whenever the graphs that are exported change, so that older ones are not used.
FORMAT = 5
APPLICATION = "multimodal-connector"


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/multimodal-connector/encoders`, `~/.cache/…` without the variable."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / APPLICATION / "encoders"


def exported(source: Source) -> EncoderFolder:
    """The encoder folder of a source, exported now if it never was; its contract bears the source's own name.

    Raises:
        EncoderLoadError: the source cannot be loaded or exported, or the cache cannot be written.
    """
    folder = cache_root() / cache_key(source)
    if not is_encoder_folder(folder):
        tower = open_tower(source)
        contract = contract_of(source, tower, source.default or default_name(source.label), 1)
        try:
            with new_folder(folder, keep=True) as filling:
                write_tower(source, tower, contract, filling)
        except OSError as error:
            raise EncoderLoadError(
                f"{folder}: an exported encoder cannot be kept there ({error.strerror}); "
                "set XDG_CACHE_HOME to a folder that can be written"
            ) from error
    return EncoderFolder.open(folder)


def cache_key(source: Source) -> str:
    """Hash over everything in the source's folder that its graph is made of."""
    line = f"{FORMAT} {source.modality} {source.default} {model_hash(source.path)}"
    return hashlib.sha256(line.encode()).hexdigest()[:32]
