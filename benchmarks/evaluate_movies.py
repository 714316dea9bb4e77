"""`python -m benchmarks.evaluate_movies`: jobs over histories beside baselines and controls, on films people liked.

The newest fifth of each user's likes is held out; every film competes. Trains what is not trained yet (`--work` keeps
it), evaluates everything anew, and writes benchmarks/results/movies.json.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks.__main__ import table
from benchmarks.harness import ROOT, Figure, figure, write_results
from benchmarks.movies import content, prepare, split
from benchmarks.seeds import over_seeds
from connector.adaptation import load_spec, pretrain
from connector.evaluation import (
    ContentMean,
    Ease,
    ItemKnn,
    Popularity,
    Scorer,
    Split,
    UserFigures,
    evaluate,
    random_vectors,
    shuffled,
)

SPECS = ROOT / "examples" / "pretrain"
JOBS = ("next_item", "masked_item", "semantic_ids", "next_semantic_id")
# The control of `next_semantic_id`: the same ids, dealt to other films.
SHUFFLED = "next_semantic_id_shuffled"
BASELINE = "popularity"
BESIDE = (BASELINE, "item kNN", "EASE", SHUFFLED)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "connector-movies")
    parser.add_argument(
        "--runs", nargs="*", default=[f"{job}:0" for job in JOBS], help=f"JOB:SEED, in order; {SHUFFLED} is one"
    )
    options = parser.parse_args()
    prepare(options.work)
    held, items = split(options.work)
    found: dict[str, list[UserFigures]] = {}
    for name, make in {**baselines(held), **controls(options.work, held, items)}.items():
        found[name] = [evaluate(make(), held)]
    notes: dict[str, Any] = {"users": len(held.users), "films": len(items), "hardware": "CPU, one thread"}
    extra: list[Figure] = []
    for run in options.runs:
        job, _, number = run.partition(":")
        seed = int(number)
        report = trained(job, options.work, seed)
        label = f"{job}, seed {seed}"
        notes[label] = f"{report.steps} steps in {report.seconds:.0f} s, step {report.best_step} kept"
        if job == "semantic_ids":
            extra += [figure(f"{label}: {name}", value, "") for name, value in report.metrics.items()]
        else:
            found.setdefault(job, []).append(evaluate(scorer(job, report.folder, held, items), held))
    figures = [*over_seeds(found, beside=BESIDE), *extra]
    write_results("movies", figures, notes)
    Console(width=160).print(table({"movies": figures}))


def baselines(held: Split) -> dict[str, Callable[[], Scorer]]:
    """What every job is held against."""
    return {
        BASELINE: lambda: Popularity(held.train, held.items),
        "item kNN": lambda: ItemKnn(held.train, held.items),
        "EASE": lambda: Ease(held.train, held.items),
    }


def controls(work: Path, held: Split, items: list[str]) -> dict[str, Callable[[], Scorer]]:
    """Words alone, the same vectors dealt to other films, and vectors that know nothing."""
    vectors = content(work, items)
    return {
        "words": lambda: ContentMean(held.train, vectors, recent=10),
        "words, shuffled": lambda: ContentMean(held.train, shuffled(vectors), recent=10),
        "random vectors": lambda: ContentMean(held.train, random_vectors(len(items), vectors.shape[1]), recent=10),
    }


def trained(job: str, work: Path, seed: int) -> Any:
    """Run a job, or only its end where its checkpoints say that it is done."""
    spec = load_spec(SPECS / f"movies_{job.removesuffix('_shuffled')}.yaml", folder=work)
    changes: dict[str, Any] = {"seed": seed, "out": str(work / f"{job}-{seed}")}
    if job.startswith("next_semantic_id"):
        changes["ids"] = str(ids_of(job, work, seed))
    return pretrain(spec.model_copy(update=changes), resume=True)


def ids_file(work: Path, seed: int) -> Path:
    """Where the semantic ids of a seed lie."""
    return work / f"semantic_ids-{seed}" / "semantic_ids.parquet"


def ids_of(job: str, work: Path, seed: int) -> Path:
    """The ids that a job reads: those of the films, or for the control the same dealt to other films."""
    path = ids_file(work, seed)
    if job != SHUFFLED:
        return path
    dealt = path.with_name("semantic_ids_shuffled.parquet")
    table = pq.read_table(path)
    order = np.random.default_rng([seed, 0x5F1]).permutation(len(table))
    pq.write_table(pa.table({"item_id": table["item_id"], "codes": table["codes"].take(order)}), dealt)
    return dealt


def scorer(job: str, folder: Path, held: Split, items: list[str]) -> Scorer:
    """What a job wrote, as a ranking of all films."""
    if job.startswith("next_semantic_id"):
        from connector.adaptation import load_generator
        from connector.adaptation.semantic.next_job import id_scorer

        model = load_generator(folder)
        assert list(model.items) == items
        return id_scorer(model.module, held, 100)
    from connector.adaptation.sequences.running import user_scorer
    from encoders.towers.sequence import SequenceTower

    return user_scorer(SequenceTower.from_folder(folder), held.train)


if __name__ == "__main__":
    main()
