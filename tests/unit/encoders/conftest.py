"""Tiny model folders and pictures, made once."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.encoders import tiny_models

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Exports that a test provokes stay in its own folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.vit(tmp_path_factory.mktemp("models") / "vit")


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.siglip(tmp_path_factory.mktemp("models") / "siglip")


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """Encoded bytes of a random picture: `picture("PNG", (40, 30), mode="RGBA", seed=1, **save options)`."""

    def make(
        kind: str = "PNG", size: tuple[int, int] = (40, 30), mode: str = "RGB", seed: int = 0, **how: object
    ) -> bytes:
        noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noise).convert(mode).save(stream, kind, **how)
        return stream.getvalue()

    return make
