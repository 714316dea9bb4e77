"""The shipped audio encoder, on sounds of a seed that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import encoders
from examples.demo.sounds import captioned_sounds

FOLDER = Path(encoders.__file__).parent / "weights" / "audio"


def test_it_is_small_and_says_what_it_is() -> None:
    assert {path.suffix for path in FOLDER.iterdir()} == {".json", ".safetensors", ".md"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2_000_000
    assert {str(value.dtype) for value in load_file(FOLDER / "model.safetensors").values()} <= {"float16", "int64"}
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for part in ("Trained on", "How well", "log-mel", "CC BY-SA"):
        assert part in card


def test_it_finds_sounds_by_words_and_by_sounds() -> None:
    table = captioned_sounds(21, 120)
    names, captions = np.asarray(table["name"].to_pylist()), table["caption"].to_pylist()
    with encoders.load("audio") as audio, encoders.load("text") as text:
        assert audio.contract.shares_space_with(text.contract)
        heard = audio.encode(table["audio"].to_pylist())
        asked = sorted(set(captions))
        words = text.encode(asked, "query")
    of_caption = dict(zip(captions, names.tolist(), strict=True))
    best = names[np.argmax(words @ heard.T, axis=1)]
    assert np.mean(best == [of_caption[caption] for caption in asked]) > 0.7
    alike = heard @ heard.T
    np.fill_diagonal(alike, -2)
    assert np.mean(names[alike.argmax(axis=1)] == names) > 0.6
    # Control: shuffled sounds answer no better than chance, about one in thirty.
    shuffled = np.random.default_rng(0).permutation(names)[np.argmax(words @ heard.T, axis=1)]
    assert np.mean(shuffled == [of_caption[caption] for caption in asked]) < 0.3
