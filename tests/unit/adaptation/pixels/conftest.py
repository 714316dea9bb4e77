from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from connector.adaptation import JobSpec
from connector.adaptation.spec import parse_spec

SIDE, WAYS = 16, 4


def stripes(way: int, rng: np.random.Generator) -> bytes:
    """Stripes that run one of four ways, light or dark first, in any two greys, under noise."""
    angle, phase = np.pi * way / WAYS, np.pi * rng.integers(2)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / 8 + phase)
    low, high = np.sort(rng.uniform(20, 235, 2))
    pixels = low + (high - low + 40) * (wave + 1) / 2 + rng.normal(0, 12, (SIDE, SIDE))
    file = io.BytesIO()
    Image.fromarray(np.repeat(pixels.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def striped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """320 pictures of stripes, and one file that is none."""
    rng = np.random.default_rng(0)
    ways = np.arange(320) % WAYS
    files = [*(stripes(int(way), rng) for way in ways), b"no picture"]
    path = tmp_path_factory.mktemp("stripes") / "pictures.parquet"
    pq.write_table(pa.table({"image": pa.array(files, pa.binary()), "way": [*ways.tolist(), -1]}), path)
    return path


@pytest.fixture
def make_pictures(striped: Path, tmp_path: Path) -> Callable[..., JobSpec]:
    """A job of a few seconds; keyword arguments change its spec."""

    def make(job: str, out: str = "out", **changes: Any) -> JobSpec:
        values: dict[str, Any] = {
            "job": job,
            "out": str(tmp_path / out),
            "pictures": [{"path": str(striped)}],
            "augmentation": {"crop": 1.0, "flip": False},
            "batch_size": 64,
            "steps": 150,
            "learning_rate": 0.003,
            "validation": 0.2,
            "evaluate_every": 50,
            "checkpoint_every": 50,
            "device": "cpu",
        }
        if job == "masked_patches":
            values |= {"image_size": SIDE, "patch": 4, "hidden": 32, "layers": 1, "heads": 2, "masked": 0.5}
            values |= {"decoder_hidden": 32, "decoder_layers": 1}
        else:
            values |= {"tower": {"kind": "new", "image_size": SIDE, "hidden_sizes": [8, 16], "depths": [1, 1]}}
            # The pictures have no colours.
            grey = {"saturation": 0, "hue": 0, "grey": 0}
            light = {"crop": 0.7, "brightness": 0.5, "contrast": 0.5}
            values |= {"dimension": 16, "head": 16, "augmentation": light | grey}
        return parse_spec({name: value for name, value in {**values, **changes}.items() if value is not None})

    return make
