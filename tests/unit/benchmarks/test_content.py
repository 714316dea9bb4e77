from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray

from benchmarks import mobilenet
from benchmarks.content import Shelf, Wardrobe, shelf_hits, wardrobe_hits

PRODUCTS = 6
DATA = Path(os.environ.get("CONNECTOR_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))


@pytest.fixture
def directions() -> NDArray[np.float32]:
    """One direction for each product, at right angles."""
    return np.eye(PRODUCTS, 16, dtype=np.float32)


@pytest.fixture
def held(directions: NDArray[np.float32]) -> Shelf:
    """Pictures whose bytes are the number of what they show."""
    ids = np.asarray([f"g{number}" for number in range(PRODUCTS)])
    shown, asked = np.repeat(np.arange(PRODUCTS), 8), np.repeat(np.arange(4), 10)
    return Shelf(
        ids=ids,
        words=directions,
        own=_pictures(np.arange(PRODUCTS)),
        seen=_pictures(shown),
        seen_truth=ids[shown],
        asked=_pictures(asked),
        truth=ids[asked],
    )


def test_vectors_that_know_are_right_and_dealt_or_blind_ones_are_not(
    held: Shelf, directions: NDArray[np.float32]
) -> None:
    knows = _encoder(directions)
    for speaks in (True, False):
        for question, hits in shelf_hits(held, knows, speaks=speaks).items():
            assert hits.mean() == 1.0, question
            assert len(hits) == (4 if "words → photo" in question else 40)
    dealt = shelf_hits(held, knows, speaks=True, shuffle=0)
    blind = shelf_hits(held, _encoder(np.random.default_rng(0).normal(size=(PRODUCTS, 16))), speaks=True)
    for question in dealt:
        if "words → photo" not in question and "@5" not in question:
            assert dealt[question].mean() < 0.6, question
    assert blind["photo → product words recall@1"].mean() < 0.6


def test_neighbours_are_sought_among_other_owners(directions: NDArray[np.float32]) -> None:
    labels = np.repeat(np.asarray(["hat", "shoe"]), 24)
    owners = np.asarray([f"u{row % 3}" for row in range(48)])
    # Each owner's photos are alike but for what they show: without the rule, every neighbour would be the owner's.
    vectors = np.zeros((48, 16), np.float32)
    vectors[np.arange(48), np.arange(48) % 3] = 10
    vectors[np.arange(48), 4 + (labels == "hat")] = 1
    held = Wardrobe(_pictures(np.arange(48)), labels, owners)
    hits = wardrobe_hits(held, _encoder(vectors))
    assert [float(values.mean()) for values in hits.values()] == [1.0, 1.0]
    assert wardrobe_hits(held, _encoder(vectors), shuffle=0)[next(iter(hits))].mean() < 0.8


def test_the_dequantised_network_is_the_published_one(tmp_path: Path) -> None:
    reason = mobilenet.missing(DATA)
    if reason is not None:
        pytest.skip(reason)
    from encoders.media.image import ImageLimits, pixels_of
    from encoders.towers.image import ImageTower, ServedImageTower

    tower = ImageTower.from_folder(mobilenet.write_tower(DATA, tmp_path / "tower"))
    pictures = pq.read_table(DATA / "grocery" / "photos.parquet", columns=["image"])["image"].to_pylist()[::400]
    pixels = np.stack([pixels_of(picture, tower.preprocessing, ImageLimits()) for picture in pictures])
    with torch.no_grad():
        ours = ServedImageTower(tower)(torch.from_numpy(pixels)).numpy()
    assert np.sum(ours * mobilenet.features(DATA, pictures), axis=1).min() > 0.998


def _pictures(numbers: NDArray[np.int64]) -> list[bytes]:
    return [bytes([number]) for number in numbers.tolist()]


def _encoder(vectors: NDArray[np.floating]) -> Callable[[list[bytes]], NDArray[np.float32]]:
    noise = np.random.default_rng(1)

    def encode(pictures: list[bytes]) -> NDArray[np.float32]:
        rows = vectors[[picture[0] for picture in pictures]] + noise.normal(size=(len(pictures), 16)) * 0.01
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    return encode
