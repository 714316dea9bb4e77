"""How well an image encoder does on the demo's own shop, which nothing is trained on; its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import encoders
from benchmarks.content import SAME_1, TO_PHOTO, WORDS_1, Hits
from benchmarks.evaluate_content import DEALT, OURS, RANDOM, TEACHER, UNTRAINED
from connector.evaluation import interval
from encoders import Encoder
from examples.demo.shop import Query, catalogue, queries

Vectors = NDArray[np.float32]
QUERY_SEEDS = (0, 1, 2)

SYSTEMS = (OURS, TEACHER, DEALT, UNTRAINED, RANDOM)


def measure(folder: Path) -> dict[str, float]:
    """Figure → value in [0, 1], for the encoder in `folder` on the demo's own shop."""
    with encoders.load(folder, name="image", modality="image") as image, encoders.load("text") as text:
        return shop_figures(image, text)


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


def card_figures(shop: dict[str, float], found: dict[str, Hits] | None, start: str | None) -> str:
    """The card's further sections.

    Args:
        found: what `evaluate_content.evaluate` found on photographs; None without the real data.
        start: where the weights that training began with came from; None where it began with nothing.
    """
    drawn = "\n".join(f"| {name} | {value:.3f} |" for name, value in shop.items())
    return f"""
## Beyond those rows

{f"Training began with the weights of {start}." if start else "Training began with random weights."}

The drawings are of the demo's kind, from other seeds; the demo's own shop was never trained on, but it comes from the
same generator, so its figures say nothing about photographs.

| figure | value |
|---|---|
{drawn}

{_photographs(found) if found else NO_PHOTOGRAPHS}
It is a small encoder that lets everything run offline. For production, name a large one: any CLIP, SigLIP or DINOv2
folder or Hugging Face id works in its place.
"""


NO_PHOTOGRAPHS = (
    "It was trained on drawings alone: `CONNECTOR_DATA` named no folder of real data. Expect little of photos.\n"
)


def _photographs(found: dict[str, Hits]) -> str:
    systems = [name for name in SYSTEMS if name in found]
    rows = "\n".join(
        f"| {question} | {' | '.join(str(interval(found[name][question])) for name in systems)} |"
        for question in found[OURS]
    )
    photos, products, clothes = (len(found[OURS][question]) for question in (WORDS_1, TO_PHOTO, SAME_1))
    return f"""Photographs: groceries in shops (GroceryStoreDataset by Marcus Klasson et al., MIT; {photos} photos of
its validation split, of {products} of its 81 products) and clothes (clothing-dataset by Alexey Grigorev, CC0;
{clothes} photos of owners held out, neighbours sought among other owners only). Nothing was trained on these photos.
95 % intervals over photos (over products where words ask); one training of one seed, three seeds of each control, by
`python -m benchmarks.evaluate_content`. How long to train, the size of the input and the fit of the last layer were
chosen with the shop photos in view, so those figures flatter this encoder a little.

| question | {" | ".join(systems)} |
|---|{"---|" * len(systems)}
{rows}

How to read it: MobileNet was never trained on these sets, and this encoder was, on the train split, the products' own
pictures and other owners' clothes. So the rows without words are no like-for-like comparison. MobileNet's linear probe
is: it is fitted on the same training photos (logistic regression, its one constant the best of three on the photos
asked about). MobileNet's rows with words come from a linear map to the words' vectors, fitted on the same photos.
"""


def _recall(vectors: Vectors, asked: Vectors, questions: list[Query], ids: list[str]) -> float:
    best = np.argsort(-(asked @ vectors.T), axis=1, kind="stable")[:, :10]
    return float(np.mean([q.recall([ids[i] for i in row]) for q, row in zip(questions, best, strict=True)]))
