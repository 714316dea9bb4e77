from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from connector.adaptation import ContrastiveSpec
from connector.adaptation.spec import parse_spec

COLOURS = {"red": (200, 30, 30), "green": (40, 160, 40), "blue": (40, 60, 200), "yellow": (230, 210, 40)}
ITEMS = 24
FORMS = ("left", "right", "top", "bottom")


def picture(colour: str, form: str, rng: np.random.Generator) -> bytes:
    """A half of the picture in `colour`, the rest in noise."""
    pixels = rng.integers(90, 160, (24, 24, 3), dtype=np.uint8)
    half = {"left": np.s_[:, :12], "right": np.s_[:, 12:], "top": np.s_[:12], "bottom": np.s_[12:]}[form]
    pixels[half] = COLOURS[colour]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Exports that a job provokes stay in a folder of their own, made once for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pictures of 16 meanings."""
    rng = np.random.default_rng(0)
    combinations = [(colour, form) for colour in COLOURS for form in FORMS]
    chosen = [combinations[index % 16] for index in range(240)]
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    table = {
        "colour": [colour for colour, _ in chosen],
        "form": [form for _, form in chosen],
        "image": pa.array([picture(colour, form, rng) for colour, form in chosen], pa.binary()),
    }
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture
def make_spec(pairs_file: Path, tmp_path: Path) -> Callable[..., ContrastiveSpec]:
    """A job of a few seconds; keyword arguments change its spec."""

    def make(out: str = "out", **changes: Any) -> ContrastiveSpec:
        values: dict[str, Any] = {
            "out": str(tmp_path / out),
            "pairs": [{"path": str(pairs_file), "text": ["{colour} on the {form}"], "group": ["colour", "form"]}],
            "tower": {"kind": "new", "image_size": 24, "hidden_sizes": [16, 32], "depths": [1, 1]},
            "augmentation": {"crop": 0.95, "flip": False},
            "batch_size": 48,
            "steps": 60,
            "learning_rate": 0.005,
            "validation": 0.2,
            "evaluate_every": 20,
            "checkpoint_every": 20,
            "device": "cpu",
        }
        return parse_spec({**values, **changes})

    return make


@pytest.fixture(scope="session")
def shop_of_cycles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty users who go round a ring of 24 items, each from a start of his own; one item in ten is another."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[Any]] = {"user_id": [], "item_id": [], "event_timestamp": [], "rating": []}
    for user in range(60):
        start = int(rng.integers(ITEMS))
        for step in range(14):
            item = (start + step) % ITEMS if rng.random() > 0.1 else int(rng.integers(ITEMS))
            rows["user_id"].append(f"u{user}")
            rows["item_id"].append(f"i{item:02d}")
            rows["event_timestamp"].append(step)
            rows["rating"].append(5.0)
    folder = tmp_path_factory.mktemp("ring")
    pq.write_table(pa.table(rows), folder / "interactions.parquet")
    vectors = rng.normal(size=(ITEMS, 8)).astype(np.float32)
    ids = [f"i{item:02d}" for item in range(ITEMS)]
    pq.write_table(pa.table({"item_id": ids, "vector": list(vectors)}), folder / "items.parquet")
    return folder


@pytest.fixture(scope="session")
def shop_of_clubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 users, each of one of 12 clubs of 20 items and fond of twelve of them, in no order."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[Any]] = {"user_id": [], "item_id": [], "event_timestamp": []}
    for user in range(150):
        club = int(rng.integers(12))
        for step, item in enumerate(rng.permutation(20)[:12]):
            rows["user_id"].append(f"u{user}")
            rows["item_id"].append(f"c{club:02d}i{item:02d}")
            rows["event_timestamp"].append(step)
    path = tmp_path_factory.mktemp("clubs") / "interactions.parquet"
    pq.write_table(pa.table(rows), path)
    return path
