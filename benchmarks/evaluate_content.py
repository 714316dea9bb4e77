"""`python -m benchmarks.evaluate_content [FOLDER]`: an image encoder beside MobileNet and controls, on photographs.

The shop photos are those of the validation split, the clothes those of owners held out: nothing was trained on them.
`--others FOLDER…` are towers of other trainings by the same job; with them come means and spread over trainings. Writes
benchmarks/results/content.json. Needs the real data; MobileNet's rows need `ai-edge-litert`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import encoders
from benchmarks import mobilenet
from benchmarks.__main__ import table
from benchmarks.content import (
    PROBE,
    SAME_1,
    TO_PHOTO,
    WORDS_1,
    Encode,
    Hits,
    remembering,
    shelf,
    shelf_hits,
    wardrobe,
    wardrobe_hits,
)
from benchmarks.data import real_data
from benchmarks.harness import ROOT, Figure, write_results
from benchmarks.seeds import with_interval
from connector.evaluation import Interval, difference, interval, random_vectors

OURS, JOB, TEACHER = "this encoder", "this encoder's job", "MobileNet v1"
UNTRAINED, DEALT, RANDOM = "untrained network", "vectors dealt to other photos", "random vectors"
SEEDS = (0, 1, 2)
# Held against MobileNet's linear probe, which was told the products as labels.
PROBED = {WORDS_1, TO_PHOTO}
SIZES = {"shop photos": WORDS_1, "products on them": TO_PHOTO, "photos of clothes": SAME_1}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "encoders" / "weights" / "image")
    parser.add_argument("--others", nargs="*", type=Path, default=[], help="towers of other trainings by the same job")
    options = parser.parse_args()
    data = real_data()
    if data is None:
        raise SystemExit("no real data: set CONNECTOR_DATA")
    found = evaluate(options.folder, data)
    others = [answers(folder, data) for folder in options.others]
    figures = [*rows(found), *trainings([found[OURS], *others], found.get(TEACHER))]
    write_results("content", figures, notes(found, 1 + len(others)))
    Console(width=160).print(table({"content": figures}))


def evaluate(folder: Path, data: Path) -> dict[str, Hits]:
    """System → question → one number per photo (per product, where words ask); controls are means over `SEEDS`."""
    with encoders.load("text") as text:
        held = shelf(data, text.encode)
    clothes = wardrobe(data)

    def ask(encode: Encode, *, speaks: bool, shuffle: int | None = None) -> Hits:
        remembered = remembering(encode)
        return shelf_hits(held, remembered, speaks=speaks, shuffle=shuffle) | wardrobe_hits(
            clothes, remembered, shuffle=shuffle
        )

    with encoders.load(folder, name="image", modality="image") as image:
        ours = remembering(image.encode)
        found = {OURS: ask(ours, speaks=True)}
        found[DEALT] = _mean([ask(ours, speaks=True, shuffle=seed) for seed in SEEDS])
        dimension = image.contract.dimension
    reason = mobilenet.missing(data)
    if reason is None:
        found[TEACHER] = ask(lambda pictures: mobilenet.features(data, pictures), speaks=False)
    else:
        print(f"without MobileNet: {reason}")
    found[UNTRAINED] = _mean([_untrained(folder, seed, ask) for seed in SEEDS])
    found[RANDOM] = _mean([ask(_random(dimension, seed), speaks=True) for seed in SEEDS])
    return found


def answers(folder: Path, data: Path) -> Hits:
    """Question → one number per photo, for a tower whose vectors lie in the space of the words."""
    with encoders.load("text") as text, encoders.load(folder, name="image", modality="image") as image:
        return shelf_hits(shelf(data, text.encode), image.encode, speaks=True) | wardrobe_hits(
            wardrobe(data), image.encode
        )


def trainings(runs: list[Hits], teacher: Hits | None) -> Iterator[Figure]:
    """Means over several trainings of one job, and the lowest and highest of them."""
    if len(runs) == 1:
        return
    middle = _mean(runs)
    for question in middle:
        yield with_interval(f"{question}: {JOB} ({len(runs)} trainings)", interval(middle[question]))
        means = [float(run[question].mean()) for run in runs]
        spread = Interval(float(np.median(means)), min(means), max(means))
        yield with_interval(f"{question}: {JOB}, lowest and highest", spread)
    if teacher is not None:
        gain = difference(middle[WORDS_1], teacher[PROBE])
        beyond = f"{JOB} beyond the linear probe of {TEACHER}, paired ({len(runs)} trainings)"
        yield with_interval(f"{WORDS_1}: {beyond}", gain)


def rows(found: dict[str, Hits]) -> Iterator[Figure]:
    """Each figure with its interval over photos; this encoder's beside MobileNet's where that is there."""
    teacher = found.get(TEACHER)
    for question in found[OURS]:
        for name, hits in found.items():
            against: dict[str, Any] = {}
            if name == OURS and teacher is not None:
                probed = question in PROBED
                against = {
                    "baseline": f"{TEACHER}, {'linear probe' if probed else 'the same'}",
                    "baseline_value": float(teacher[PROBE if probed else question].mean()),
                    "goal": ">= 1.0" if probed else "",
                }
            yield with_interval(f"{question}: {name}", interval(hits[question]), **against)
    if teacher is not None:
        gain = difference(found[OURS][WORDS_1], teacher[PROBE])
        yield with_interval(f"{WORDS_1}: {OURS} beyond the linear probe of {TEACHER}, paired", gain)


def _untrained(folder: Path, seed: int, ask: Callable[..., Hits]) -> Hits:
    """The same architecture before it learned anything."""
    import torch
    from transformers import AutoModel

    from encoders.towers.image import ImageTower

    tower = ImageTower.from_folder(folder)
    torch.manual_seed(seed)
    tower.backbone = AutoModel.from_config(tower.backbone.config).eval()
    if tower.projection is not None:
        tower.projection.reset_parameters()
    with tempfile.TemporaryDirectory() as name:
        saved = tower.save(Path(name) / "untrained")
        with encoders.load(saved, name="untrained", modality="image") as encoder:
            return ask(encoder.encode, speaks=True)


def _random(dimension: int, seed: int) -> Encode:
    calls = iter(range(1000))
    return lambda pictures: random_vectors(len(pictures), dimension, 1000 * seed + next(calls))


def _mean(runs: list[Hits]) -> Hits:
    return {question: np.mean([hits[question] for hits in runs], axis=0) for question in runs[0]}


def notes(found: dict[str, Hits], runs: int) -> dict[str, Any]:
    """What the figures are means over."""
    sizes = {name: len(found[OURS][question]) for name, question in SIZES.items()}
    return {**sizes, "seeds of the controls": ", ".join(map(str, SEEDS)), "trainings of its job": runs}


if __name__ == "__main__":
    main()
