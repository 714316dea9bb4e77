"""`python -m benchmarks.evaluate_free_text`: a text encoder that stays as it is, beside one that learns along.

The same pictures' tower learns from the shop photos of the train split towards the words of their products, by three
seeds: with the shipped text encoder locked, and with it learning at shares of the rate (`free_text`). Both are asked
about the photos of the validation split, and the text encoders alone about films, of which they learned nothing: how
often does the first sentence about a film find the rest? Writes benchmarks/results/free_text.json. Needs the real data
and `ai-edge-litert`, for MobileNet's weights.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console

import encoders
from benchmarks import mobilenet
from benchmarks.__main__ import table
from benchmarks.content import TO_PHOTO, WORDS_1, WORDS_5, Hits, shelf, word_hits
from benchmarks.data import real_data
from benchmarks.harness import Figure, write_results
from benchmarks.pretrain_defaults import grocery
from benchmarks.seeds import with_interval
from connector.adaptation import pretrain
from connector.adaptation.spec import parse_spec
from connector.evaluation import Interval, difference, interval
from connector.evaluation.content import shuffled
from encoders import Encoder

FILMS = "first sentence about a film → the rest recall@1"
QUESTIONS = (WORDS_1, WORDS_5, TO_PHOTO, FILMS)
LOCKED, DEALT = "words locked", "words locked, vectors dealt to other photos"
RATES = {"words learn, rate 0.1": 0.1, "words learn, rate 1": 1.0}
# Descriptions of a hundred words would make a step of an encoder of words twenty times as long.
SHOPS = ["{name}, {category}", "{name}", "a photo of {name}"]
ASKED_FILMS = 1000


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300, help="of each training")
    options = parser.parse_args()
    data = real_data()
    if data is None or (reason := mobilenet.missing(data)) is not None:
        raise SystemExit("no real data: set CONNECTOR_DATA" if data is None else reason)
    with tempfile.TemporaryDirectory() as name:
        found, notes = evaluate(Path(name), data, options.seeds, options.steps)
    figures = list(rows(found))
    write_results("free_text", figures, notes)
    Console(width=160).print(table({"free_text": figures}))


def evaluate(work: Path, data: Path, seeds: list[int], steps: int) -> tuple[dict[str, list[Hits]], dict[str, Any]]:
    """System → for each of its seeds: question → one number per photo, product or film; and what the trainings were."""
    mobilenet.write_tower(data, work / "mobilenet-v1", 160)
    photos, _ = grocery(data)
    pq.write_table(photos, work / "grocery.parquet")
    told = films(data)
    with encoders.load("text") as text:
        known = film_hits(text, told)
    found: dict[str, list[Hits]] = {LOCKED: [], **{name: [] for name in RATES}, DEALT: []}
    notes: dict[str, Any] = {"photos": photos.num_rows, "films": len(told[0]), "seeds": ", ".join(map(str, seeds))}
    for name, rate in ((LOCKED, None), *RATES.items()):
        for seed in seeds:
            out = work / f"{rate}-{seed}"
            report: Any = pretrain(parse_spec(settings(out, work, rate, seed, steps)), show=False)
            notes[f"{name}, seed {seed}"] = f"{steps} steps in {report.seconds:.0f} s, {report.best_step} kept"
            with (
                encoders.load(report.folder, name="pictures") as image,
                encoders.load(report.text or "text", name="words") as text,
            ):
                held = shelf(data, text.encode)
                asked = image.encode(held.asked)
                about = known if rate is None else film_hits(text, told)
                found[name].append({**word_hits(held, asked), FILMS: about})
                if rate is None:
                    found[DEALT].append(word_hits(held, shuffled(asked, seed)))
    return found, notes


def settings(out: Path, work: Path, rate: float | None, seed: int, steps: int) -> dict[str, Any]:
    """The spec of one training; the pictures' side is that of the shipped image encoder, at fewer pixels."""
    return {
        "job": "contrastive",
        "out": str(out),
        "text_encoder": "text",
        "pairs": [{"path": str(work / "grocery.parquet"), "text": SHOPS, "group": ["product_id"]}],
        "tower": {
            "kind": "pretrained",
            "source": str(work / "mobilenet-v1"),
            "train_size": 96,
            "keep_statistics": True,
            "freeze": ["backbone.conv_stem.*", "backbone.layer.[0-9].*", "backbone.layer.1[01].*"],
        },
        "augmentation": {"crop": 0.6, "flip": True, "brightness": 0.25, "contrast": 0.25, "turn": 15, "erase": 0.2},
        "batch_size": 64,
        "steps": steps,
        "learning_rate": 0.0005,
        "validation": 0.04,
        "evaluate_every": max(1, steps // 4),
        "checkpoint_every": steps,
        "seed": seed,
        "weights": "float32",
        **({} if rate is None else {"free_text": {"rate": rate}}),
    }


def films(data: Path) -> tuple[list[str], list[str]]:
    """First sentences about films, and the rest of what is said of them; of the first that have both."""
    told = pq.read_table(data / "movies" / "items.parquet", columns=["description"])["description"].to_pylist()
    halves = [text.partition(". ") for text in told if text]
    both = [(first, rest) for first, _, rest in halves if len(first.split()) > 5 and len(rest.split()) > 20]
    return [first for first, _ in both[:ASKED_FILMS]], [rest for _, rest in both[:ASKED_FILMS]]


def film_hits(text: Encoder, told: tuple[list[str], list[str]]) -> NDArray[np.float64]:
    """0 or 1 for each film: whether the rest of what is said of it is nearest to its first sentence."""
    asked, rest = text.encode(told[0]), text.encode(told[1])
    return (np.argmax(asked @ rest.T, axis=1) == np.arange(len(asked))).astype(np.float64)


def rows(found: dict[str, list[Hits]]) -> Iterator[Figure]:
    """Each figure with its interval over photos, products or films, the spread over trainings, and paired gains."""
    for question in QUESTIONS:
        for name, runs in found.items():
            if question not in runs[0]:
                continue
            middle = np.mean([run[question] for run in runs], axis=0)
            yield with_interval(f"{question}: {name} ({len(runs)} seeds)", interval(middle))
            if name in RATES:
                shares = [float(run[question].mean()) for run in runs]
                spread = Interval(float(np.median(shares)), min(shares), max(shares))
                yield with_interval(f"{question}: {name}, lowest and highest seed", spread)
                locked = np.mean([run[question] for run in found[LOCKED]], axis=0)
                yield with_interval(f"{question}: {name} beyond {LOCKED}, paired", difference(middle, locked))


if __name__ == "__main__":
    main()
