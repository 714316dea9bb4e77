"""`python -m benchmarks.evaluate_movies`: jobs over histories beside baselines and controls, on films people liked.

The newest fifth of each user's likes is held out; every film competes. Trains what is not trained yet (`--work` keeps
it), evaluates everything anew, and writes benchmarks/results/movies.json.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.__main__ import table
from benchmarks.harness import ROOT, Figure, figure, write_results
from benchmarks.movies import content, prepare, split
from connector.adaptation import load_spec, pretrain
from connector.evaluation import (
    ContentMean,
    Ease,
    ItemKnn,
    Popularity,
    Scorer,
    Split,
    UserFigures,
    difference,
    evaluate,
    random_vectors,
    shuffled,
)

SPECS = ROOT / "examples" / "pretrain"
JOBS = ("next_item", "masked_item", "semantic_ids", "next_semantic_id")
SHOWN = ("recall@20", "ndcg@20", "mrr")
BASELINE = "popularity"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "connector-movies")
    parser.add_argument("--runs", nargs="*", default=[f"{job}:0" for job in JOBS], help="JOB:SEED, in order")
    options = parser.parse_args()
    prepare(options.work)
    held, items = split(options.work)
    found: dict[str, UserFigures] = {}
    for name, make in {**baselines(held), **controls(options.work, held, items)}.items():
        found[name] = evaluate(make(), held)
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
            found[label] = evaluate(scorer(job, report.folder, options.work, seed, held, items), held)
    figures = [*rows(found), *extra]
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
    spec = load_spec(SPECS / f"movies_{job}.yaml", folder=work)
    changes: dict[str, Any] = {"seed": seed, "out": str(work / f"{job}-{seed}")}
    if job == "next_semantic_id":
        changes["ids"] = str(ids_file(work, seed))
    return pretrain(spec.model_copy(update=changes), resume=True)


def ids_file(work: Path, seed: int) -> Path:
    """Where the semantic ids of a seed lie."""
    return work / f"semantic_ids-{seed}" / "semantic_ids.parquet"


def scorer(job: str, folder: Path, work: Path, seed: int, held: Split, items: list[str]) -> Scorer:
    """What a job wrote, as a ranking of all films."""
    if job == "next_semantic_id":
        from connector.adaptation.semantic.next_job import id_scorer, read_ids
        from connector.adaptation.semantic.saving import load_generator
        from encoders.semantic.trie import IdTrie

        return id_scorer(load_generator(folder, IdTrie(read_ids(ids_file(work, seed), items))), held, 100)
    from connector.adaptation.sequences.job import user_scorer
    from encoders.towers.sequence import SequenceTower

    return user_scorer(SequenceTower.from_folder(folder), held.train)


def rows(found: dict[str, UserFigures]) -> Iterator[Figure]:
    """Each figure with its interval over users, beside popularity's."""
    for name, figures in found.items():
        for metric in SHOWN:
            middle = figures.interval(metric)
            base = found[BASELINE].by_name[metric]
            row = figure(
                f"{name}: {metric}",
                middle.mean,
                "",
                baseline="" if name == BASELINE else BASELINE,
                baseline_value=None if name == BASELINE else float(base.mean()),
            )
            yield replace(row, low=middle.low, high=middle.high)
        if name != BASELINE:
            gain = difference(figures.by_name["recall@20"], found[BASELINE].by_name["recall@20"])
            row = figure(f"{name}: recall@20 beyond {BASELINE}, paired", gain.mean, "")
            yield replace(row, low=gain.low, high=gain.high)


if __name__ == "__main__":
    main()
