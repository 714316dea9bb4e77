"""`python -m benchmarks.evaluate_pictures`: the two jobs over pictures alone, on photographs without labels or words.

Both learn from the shop photos of the train split and the clothes of other owners, without being told what they show,
by three seeds; then the shop photos of the validation split and the clothes of owners held out are asked about. `views`
changes the colours of its pictures too, as it does by default. Controls are the same vectors dealt to other photos,
networks before training, and random vectors. Writes benchmarks/results/pictures.json. Needs the real data; MobileNet's
rows need `ai-edge-litert`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console

import encoders
from benchmarks import mobilenet
from benchmarks.__main__ import table
from benchmarks.clothes import clothes, held_owners
from benchmarks.content import (
    NEAREST,
    PROBE,
    SAME_1,
    SAME_10,
    Encode,
    Hits,
    remembering,
    shelf,
    shelf_hits,
    wardrobe,
    wardrobe_hits,
)
from benchmarks.data import real_data
from benchmarks.evaluate_content import DEALT
from benchmarks.harness import Figure, write_results
from benchmarks.seeds import with_interval
from connector.adaptation import pretrain
from connector.adaptation.spec import parse_spec
from connector.evaluation import Interval, difference, interval, random_vectors

QUESTIONS = (PROBE, NEAREST, SAME_1, SAME_10)
# Steps in which nothing is learned but the means and variances of batch normalisation.
SETTLED = 30
PIXELS, TEACHER, RANDOM = "pixels, 12 by 12", "MobileNet v1", "random vectors"
JOBS: dict[str, dict[str, Any]] = {
    "views": {"tower": {"kind": "new", "image_size": 64}, "batch_size": 96, "learning_rate": 0.002},
    "masked_patches": {"image_size": 64, "patch": 8, "hidden": 128, "layers": 4, "heads": 4, "decoder_hidden": 64,
                       "decoder_layers": 1, "batch_size": 96, "learning_rate": 0.001},
}  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1000, help="of each training")
    options = parser.parse_args()
    data = real_data()
    if data is None:
        raise SystemExit("no real data: set CONNECTOR_DATA")
    with tempfile.TemporaryDirectory() as name:
        found, notes = evaluate(Path(name), data, options.seeds, options.steps)
    figures = list(rows(found))
    write_results("pictures", figures, notes)
    Console(width=160).print(table({"pictures": figures}))


def evaluate(work: Path, data: Path, seeds: list[int], steps: int) -> tuple[dict[str, list[Hits]], dict[str, Any]]:
    """System → for each of its seeds: question → one number per photo; and what the trainings were."""
    with encoders.load("text") as text:
        held = shelf(data, text.encode)
    worn = wardrobe(data)
    pictures = unlabelled(data, work / "pictures.parquet")

    def ask(encode: Encode, shuffle: int | None = None) -> Hits:
        hits = shelf_hits(held, encode, speaks=False, shuffle=shuffle) | wardrobe_hits(worn, encode, shuffle=shuffle)
        return {question: hits[question] for question in QUESTIONS}

    found: dict[str, list[Hits]] = {}
    notes: dict[str, Any] = {"pictures": pictures, "seeds": ", ".join(map(str, seeds)), "hardware": "CPU"}
    for job, settings in JOBS.items():
        untrained, dealt = f"{job}, untrained", f"{job}, {DEALT}"
        found[job], found[untrained], found[dealt] = [], [], []
        for seed in seeds:
            for name, length, rate in ((job, steps, settings["learning_rate"]), (untrained, SETTLED, 1e-12)):
                values = {
                    **settings,
                    "job": job,
                    "out": str(work / f"{name}-{seed}"),
                    "pictures": [{"path": str(work / "pictures.parquet"), "image": "image"}],
                    "steps": length,
                    "learning_rate": rate,
                    "evaluate_every": max(1, length // 4),
                    "seed": seed,
                    "weights": "float32",
                }
                spec: Any = parse_spec(values)
                report: Any = pretrain(spec, show=False)
                with encoders.load(report.folder, name="pictures", modality="image") as encoder:
                    encode = remembering(encoder.encode)
                    found[name].append(ask(encode))
                    if name == job:
                        found[dealt].append(ask(encode, seed))
                if name == job:
                    notes[f"{job}, augmentation"] = ", ".join(f"{k} {v}" for k, v in spec.augmentation if v)
                    notes[f"{job}, seed {seed}"] = f"{steps} steps in {report.seconds:.0f} s, {report.best_step} kept"
    found[PIXELS] = [ask(pixels)]
    reason = mobilenet.missing(data)
    if reason is None:
        found[TEACHER] = [ask(lambda files: mobilenet.features(data, files))]
    else:
        print(f"without MobileNet: {reason}")
    found[RANDOM] = [ask(_random(seed)) for seed in seeds]
    return found, notes


def unlabelled(data: Path, path: Path) -> int:
    """Write the pictures that are learned from, nothing beside them → how many they are."""
    photos = pq.read_table(data / "grocery" / "photos.parquet", columns=["image", "split"])
    worn = clothes(data)
    kept = worn.filter(pc.invert(pc.is_in(worn["user_id"], value_set=held_owners(worn))))
    images = [*photos.filter(pc.equal(photos["split"], "train"))["image"].to_pylist(), *kept["image"].to_pylist()]
    pq.write_table(pa.table({"image": pa.array(images, pa.binary())}), path)
    return len(images)


def pixels(files: list[bytes]) -> np.ndarray:
    """What a picture is without any network: 12 by 12 pixels, as unit vectors around their mean."""
    from encoders.media.image import ImageLimits, pixels_of
    from encoders.media.preprocessing import ImagePreprocessing

    preprocessing = ImagePreprocessing(image_size=12, mean=(0.5,) * 3, std=(0.5,) * 3)
    flat = np.stack([pixels_of(file, preprocessing, ImageLimits()).reshape(-1) for file in files]).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), np.float32)


def rows(found: dict[str, list[Hits]]) -> Iterator[Figure]:
    """Each figure with its interval over photos, the spread over trainings, and the jobs beyond what knows nothing."""
    for question in QUESTIONS:
        for name, runs in found.items():
            middle = np.mean([run[question] for run in runs], axis=0)
            trainings = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
            yield with_interval(f"{question}: {name}{trainings}", interval(middle))
            if name in JOBS:
                shares = [float(run[question].mean()) for run in runs]
                spread = Interval(float(np.median(shares)), min(shares), max(shares))
                yield with_interval(f"{question}: {name}, lowest and highest seed", spread)
                for other in (f"{name}, untrained", f"{name}, {DEALT}", PIXELS):
                    gain = difference(middle, np.mean([run[question] for run in found[other]], axis=0))
                    yield with_interval(f"{question}: {name} beyond {other}, paired", gain)


def _random(seed: int) -> Callable[[list[bytes]], np.ndarray]:
    return lambda files: random_vectors(len(files), 128, 1000 * seed + len(files))


if __name__ == "__main__":
    main()
