"""How well an image encoder does on the demo's own shop, which nothing is trained on, and on held-out shop photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

import encoders
from encoders import Encoder
from examples.demo.shop import Query, catalogue, queries

Vectors = NDArray[np.float32]
QUERY_SEEDS = (0, 1, 2)

# MobileNet v1 features on the same files: photo → the product's own picture, photo → nearest training photo, and a
# linear probe on the training photos.
MOBILENET = {
    "photo → product picture recall@1": 0.19,
    "photo → product picture recall@5": 0.43,
    "photo → nearest training photo, same product": 0.54,
    "photo → product, linear probe": 0.66,
}


def measure(folder: Path, data: Path | None) -> dict[str, float]:
    """Figure → value in [0, 1], for the encoder in `folder`."""
    with encoders.load(folder, name="image", modality="image") as image, encoders.load("text") as text:
        figures = shop_figures(image, text)
        if data is not None:
            figures |= photo_figures(image, text, data)
    return figures


def shop_figures(image: Encoder, text: Encoder) -> dict[str, float]:
    """The demo's shop: words → pictures and pictures → pictures, recall@10 over several sets of questions."""
    table = catalogue()
    asked = [query for seed in QUERY_SEEDS for query in queries(table, seed)]
    ids = table["item_id"].to_pylist()
    vectors = image.encode(table["image"].to_pylist())
    words = [query for query in asked if query.asks == "text" and query.visible]
    pictures = [query for query in asked if query.asks == "picture"]
    worded, pictured = text.encode([q.text for q in words], "query"), image.encode([q.image for q in pictures])
    return {
        "demo shop: words → picture recall@10": _recall(vectors, worded, words, ids),
        "demo shop: picture → picture recall@10": _recall(vectors, pictured, pictures, ids),
    }


def photo_figures(image: Encoder, text: Encoder, data: Path) -> dict[str, float]:
    """Photos of groceries, validation split: which product is it?"""
    products = pq.read_table(data / "grocery" / "products.parquet").to_pylist()
    photos = pq.read_table(data / "grocery" / "photos.parquet")
    held = photos.filter(pc.equal(photos["split"], "val"))
    shown = photos.filter(pc.equal(photos["split"], "train"))
    ids = np.asarray([product["product_id"] for product in products])
    truth = np.asarray(held["product_id"].to_pylist())
    seen, seen_truth = image.encode(shown["image"].to_pylist()), np.asarray(shown["product_id"].to_pylist())
    asked = image.encode(held["image"].to_pylist())
    words = text.encode([f"{product['name']}, {product['category']}" for product in products])
    own = image.encode([product["image"] for product in products])
    present = [index for index, name in enumerate(ids) if name in set(truth)]
    hit = truth[np.argmax(words[present] @ asked.T, axis=1)] == ids[present]
    return {
        "photo → product words recall@1": _top(asked @ words.T, ids, truth, 1),
        "photo → product words recall@5": _top(asked @ words.T, ids, truth, 5),
        "product words → photo recall@1": float(hit.mean()),
        "photo → product picture recall@1": _top(asked @ own.T, ids, truth, 1),
        "photo → product picture recall@5": _top(asked @ own.T, ids, truth, 5),
        "photo → nearest training photo, same product": _top(asked @ seen.T, seen_truth, truth, 1),
        "photo → product, linear probe": _probe(seen, seen_truth, asked, truth),
    }


def card_figures(figures: dict[str, float], *, with_photos: bool) -> str:
    """The card's further sections."""
    rows = "\n".join(f"| {name} | {value:.3f} | {_beside(name)} |" for name, value in figures.items())
    trained = (
        "The photos are of groceries in shops (GroceryStoreDataset by Marcus Klasson et al., MIT; its validation split "
        "is held out) and of clothes (clothing-dataset by Alexey Grigorev, CC0)."
        if with_photos
        else "It was trained on drawings alone: `CONNECTOR_DATA` named no folder of real data. Expect little of photos."
    )
    return f"""
## Beyond those rows

{trained} The drawings are of the demo's kind, from other seeds; the demo's own shop was never trained on, but it comes
from the same generator, so its figures say nothing about photographs.

| figure | this encoder | MobileNet v1 features |
|---|---|---|
{rows}

Read the MobileNet column with care: its figures are quoted, not measured in this run. MobileNet was not trained on
this set, while this encoder was trained on the photos of the train split and on each product's own picture, so the
rows about product pictures are no like-for-like comparison. The probes differ too: here it is a ridge regression on
this encoder's outputs; which classifier stands behind the quoted figure is not known. The validation photos were not
trained on. All figures are of one training run with one seed, without intervals.

It is a small encoder that lets everything run offline. For production, name a large one: any CLIP, SigLIP or DINOv2
folder or Hugging Face id works in its place.
"""


def _beside(name: str) -> str:
    return f"{MOBILENET[name]:.2f}" if name in MOBILENET else "–"


def _recall(vectors: Vectors, asked: Vectors, questions: list[Query], ids: list[str]) -> float:
    best = np.argsort(-(asked @ vectors.T), axis=1, kind="stable")[:, :10]
    return float(np.mean([q.recall([ids[i] for i in row]) for q, row in zip(questions, best, strict=True)]))


def _top(scores: Vectors, labels: NDArray[np.str_], truth: NDArray[np.str_], k: int) -> float:
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((labels[best] == truth[:, None]).any(axis=1).mean())


def _probe(seen: Vectors, seen_truth: NDArray[np.str_], asked: Vectors, truth: NDArray[np.str_]) -> float:
    """Ridge regression onto one-hot labels: a linear probe without anything to tune but one constant."""
    labels, numbers = np.unique(seen_truth, return_inverse=True)
    centre, spread = seen.mean(axis=0), seen.std(axis=0) + 1e-6
    x, y = ((seen - centre) / spread).astype(np.float64), np.eye(len(labels))[numbers]
    weights = np.linalg.solve(x.T @ x + 100.0 * np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0)))
    scores = ((asked - centre) / spread) @ weights + y.mean(axis=0)
    return float((labels[np.argmax(scores, axis=1)] == truth).mean())
