"""The shipped image encoder, on drawings that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import encoders
from examples.demo.shop import catalogue, queries

FOLDER = Path(encoders.__file__).parent / "weights" / "image"


def test_it_is_small_and_says_what_it_is() -> None:
    assert {path.suffix for path in FOLDER.iterdir()} == {".json", ".safetensors", ".md"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8_000_000
    assert {str(value.dtype) for value in load_file(FOLDER / "model.safetensors").values()} <= {"float16", "int64"}
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "Trained on" in card
    assert "How well" in card


def test_it_finds_drawings_by_words_and_by_drawings() -> None:
    table = catalogue(size=240)
    ids = np.asarray(table["item_id"].to_pylist())
    asked = [query for query in queries(table, seed=11) if query.visible]
    words = [query for query in asked if query.asks == "text"]
    pictures = [query for query in asked if query.asks == "picture"]
    with encoders.load("image") as image, encoders.load("text") as text:
        assert image.contract.shares_space_with(text.contract)
        items = image.encode(table["image"].to_pylist())
        by_words = text.encode([query.text for query in words], "query") @ items.T
        by_picture = image.encode([query.image for query in pictures]) @ items.T
    for scores, questions, least in ((by_words, words, 0.8), (by_picture, pictures, 0.9)):
        best = ids[np.argsort(-scores, axis=1)[:, :10]]
        recall = np.mean([query.recall(row.tolist()) for query, row in zip(questions, best, strict=True)])
        assert recall > least
    # Control: a shuffled catalogue answers no better than chance, 10 of 240.
    shuffled = np.random.default_rng(0).permutation(ids)[np.argsort(-by_words, axis=1)[:, :10]]
    chance = np.mean([query.recall(row.tolist()) for query, row in zip(words, shuffled, strict=True)])
    assert chance < 0.2
