"""`python -m benchmarks.transfer_movies`: what is learned on one half of the films, carried over to the other half.

Films are dealt to two halves by a hash of their id. The job `universal_sequence` learns on the first; on the second it
goes on from there, or starts from nothing, beside baselines of the second half alone. A tenth of the second half is
cold: nobody's liking of those films is ever learned from. Writes benchmarks/results/transfer.json.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.__main__ import table
from benchmarks.evaluate_movies import SPECS
from benchmarks.harness import Figure, write_results
from benchmarks.movies import prepare
from benchmarks.seeds import over_seeds
from connector.adaptation import load_spec, pretrain
from connector.evaluation import (
    ContentMean,
    Ease,
    InteractionSource,
    ItemKnn,
    Popularity,
    Scorer,
    Split,
    UserFigures,
    evaluate,
    random_vectors,
    read_interactions,
    shuffled,
    time_split,
)

SCRATCH = "from nothing"
# What is trained on the second half: name → folder, changes to the spec.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "next_item": ("half_next_item", {}),
    SCRATCH: ("scratch", {}),
    "carried over as it is": ("source", {}),
    "carried over, adaptor": ("moved_adaptor", {"learn": "adaptor"}),
    "carried over, all": ("moved_all", {}),
    "carried over, all, with ids": ("moved_ids", {"ids": True}),
    "collaborative_alignment": ("collaborative_alignment", {}),
    "collaborative_alignment, words shuffled": ("collaborative_alignment", {}),
    "co_interaction, item–item": ("co_interaction", {"pairs": "item_item"}),
    "co_interaction, user–item": ("co_interaction", {"pairs": "user_item"}),
    "co_interaction, item–item, words shuffled": ("co_interaction", {"pairs": "item_item"}),
}
PROJECTED = ("collaborative_alignment", "co_interaction")
DEALINGS = 5
HIDDEN = -1e9


@dataclass(frozen=True)
class Target:
    """The second half.

    Attributes:
        items: ids by number.
        warm: likes of films that are not cold, the newest fifth of each user's held out.
        cold: the same pasts, and the cold films that the user liked.
        cold_items: bool [items].
        content: float32 [items, dim].
    """

    items: list[str]
    warm: Split
    cold: Split
    cold_items: NDArray[np.bool_]
    content: NDArray[np.float32]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "connector-movies")
    parser.add_argument("--runs", nargs="*", default=[f"{way}:0" for way in WAYS], help="WAY:SEED, in order")
    options = parser.parse_args()
    prepare(options.work)
    halves(options.work)
    target = read_target(options.work)
    warm: dict[str, list[UserFigures]] = {}
    cold: dict[str, list[UserFigures]] = {}
    for name, scorers in baselines(target).items():
        warm[name] = [evaluate(scorer, target.warm) for scorer in scorers]
    for name, scorers in contents(target).items():
        cold[name] = [evaluate(among_cold(scorer, target), target.cold) for scorer in scorers]
    notes: dict[str, Any] = {"users": len(target.warm.users), "films": len(target.items), "hardware": "CPU, one thread"}
    for run in options.runs:
        way, _, number = run.rpartition(":")
        scorer, note = made(way, options.work, target, int(number))
        notes[f"{way}, seed {number}"] = note
        warm.setdefault(way, []).append(evaluate(scorer(target.warm), target.warm))
        if way != "next_item":
            cold.setdefault(way, []).append(evaluate(among_cold(scorer(target.cold), target), target.cold))
    figures: list[Figure] = [
        *over_seeds(warm, beside=("popularity", "item kNN", SCRATCH)),
        *over_seeds(cold, beside=("words", SCRATCH), prefix="cold films: "),
    ]
    notes["users who liked cold films"] = len(target.cold.users)
    notes["cold films"] = int(target.cold_items.sum())
    write_results("transfer", figures, notes)
    Console(width=160).print(table({"transfer": figures}))


def number_of(item: str) -> int:
    """What an item is dealt by."""
    return int(hashlib.sha256(item.encode()).hexdigest(), 16)


def is_cold(item: str) -> bool:
    """Whether an item of the second half is never learned from."""
    return number_of(item) // 2 % 10 == 0


def halves(work: Path) -> None:
    """Write both halves' content and ratings, and the second's cold ratings apart; once."""
    if (work / "cold_ratings.parquet").exists():
        return
    content, ratings = pq.read_table(work / "content.parquet"), pq.read_table(work / "ratings.parquet")
    ids = content["item_id"].to_pylist()
    first, second = ([item for item in ids if number_of(item) % 2 == half] for half in (0, 1))
    cold, kept = ([item for item in second if is_cold(item) is chosen] for chosen in (True, False))
    for name, whole, wanted in (
        ("source_content", content, first),
        ("target_content", content, second),
        ("source_ratings", ratings, first),
        ("target_ratings", ratings, kept),
        ("cold_ratings", ratings, cold),
    ):
        rows = pc.is_in(whole["item_id"], value_set=pa.array(wanted, whole["item_id"].type))
        pq.write_table(whole.filter(rows), work / f"{name}.parquet")


def read_target(work: Path) -> Target:
    """The second half."""
    table = pq.read_table(work / "target_content.parquet")
    ids = table["item_id"].to_pylist()
    likes = {"value": "rating", "at_least": 4}
    warm = read_interactions(InteractionSource(path=str(work / "target_ratings.parquet"), **likes), ids)
    found = read_interactions(InteractionSource(path=str(work / "cold_ratings.parquet"), **likes), ids)
    split = time_split(warm.histories, len(ids), 0.2)
    chosen = dict(zip(found.users, found.histories, strict=True))
    nothing = np.zeros(0, np.int64)
    held = [
        chosen.get(user, nothing) if len(past) else nothing for user, past in zip(warm.users, split.train, strict=True)
    ]
    rows = {item: row for row, item in enumerate(ids)}
    vectors = np.stack(table["vector"].to_numpy(zero_copy_only=False))[[rows[item] for item in warm.items]]
    if not (work / "target_train.parquet").exists():
        _write_train(work / "target_train.parquet", warm.users, split, warm.items)
    cold = np.asarray([is_cold(item) for item in warm.items])
    return Target(warm.items, split, Split(split.train, held, len(ids)), cold, vectors)


def _write_train(path: Path, users: list[str], split: Split, items: list[str]) -> None:
    """What may be learned from, for a job that holds nothing out by itself."""
    rows = [
        (user, items[item], place)
        for user, past in zip(users, split.train, strict=True)
        for place, item in enumerate(past)
    ]
    columns = zip(*rows, strict=True)
    names = ("user_id", "item_id", "event_timestamp")
    pq.write_table(pa.table({name: list(column) for name, column in zip(names, columns, strict=True)}), path)


def among_cold(scorer: Scorer, target: Target) -> Scorer:
    """The same scores of cold films; the others last."""

    def score(users: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.where(target.cold_items, scorer(users), np.float32(HIDDEN))

    return score


def baselines(target: Target) -> dict[str, list[Scorer]]:
    """What the second half says by itself."""
    train, items = target.warm.train, len(target.items)
    simple = {
        "popularity": [Popularity(train, items)],
        "item kNN": [ItemKnn(train, items)],
        "EASE": [Ease(train, items)],
    }
    return {**simple, **contents(target)}


def contents(target: Target) -> dict[str, list[Scorer]]:
    """Words alone, and controls dealt several times: what can be said of films that nobody chose."""
    train, content = target.warm.train, target.content
    dealings = range(DEALINGS)
    return {
        "words": [ContentMean(train, content, recent=10)],
        "words, shuffled": [ContentMean(train, shuffled(content, seed), recent=10) for seed in dealings],
        "random vectors": [ContentMean(train, random_vectors(*content.shape, seed), recent=10) for seed in dealings],
    }


Made = tuple[Callable[[Split], Scorer], str]


def universal(work: Path, seed: int, out: str, **changes: Any) -> Made:
    """A run on the second half."""
    from connector.adaptation.sequences.running import user_scorer
    from encoders.towers.universal import UniversalTower

    spec = load_spec(SPECS / "movies_universal_target.yaml", folder=work)
    report: Any = pretrain(
        spec.model_copy(update={"seed": seed, "out": str(work / f"{out}-{seed}"), **changes}), resume=True
    )
    tower = UniversalTower.from_folder(report.folder)
    return lambda split: user_scorer(tower, split.train), note_of(report)


def source(work: Path, seed: int) -> str:
    """The tower of the first half."""
    spec = load_spec(SPECS / "movies_universal_source.yaml", folder=work)
    report = pretrain(spec.model_copy(update={"seed": seed, "out": str(work / f"source-{seed}")}), resume=True)
    return str(report.folder)


def as_it_is(work: Path, target: Target, seed: int) -> Made:
    """The first half's tower over the second half's content, without a step of training."""
    from connector.adaptation.sequences.running import user_scorer
    from connector.adaptation.universal.job import build_tower

    spec: Any = load_spec(SPECS / "movies_universal_target.yaml", folder=work)
    norms = np.linalg.norm(target.content, axis=1, keepdims=True)
    moved = build_tower(
        spec.model_copy(update={"initial": source(work, seed)}), target.items, target.content / norms
    ).eval()
    return lambda split: user_scorer(moved, split.train), "not trained on these films"


def projected(work: Path, target: Target, seed: int, way: str) -> Made:
    """A projection of the second half's content; a control learns from content that was dealt to other films."""
    from connector.adaptation.sequences.running import user_scorer
    from encoders.towers.sequence import SequenceTower

    job, changes = WAYS[way]
    spec: Any = load_spec(SPECS / f"movies_{job}.yaml", folder=work)
    if way.endswith("shuffled"):
        dealt = work / f"shuffled_content-{seed}.parquet"
        vectors = shuffled(target.content, seed)
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        pq.write_table(pa.table({"item_id": target.items, "vector": flat}), dealt)
        changes = {**changes, "content": spec.content.model_copy(update={"path": str(dealt)})}
    out = work / f"{way.replace(' ', '_').replace(',', '')}-{seed}"
    report: Any = pretrain(spec.model_copy(update={"seed": seed, "out": str(out), **changes}), resume=True)
    tower = SequenceTower.from_folder(report.folder)
    return lambda split: user_scorer(tower, split.train), note_of(report)


def next_item(work: Path, seed: int) -> Made:
    """SASRec over the second half's ids."""
    from connector.adaptation.sequences.running import user_scorer
    from encoders.towers.sequence import SequenceTower

    spec = load_spec(SPECS / "movies_next_item.yaml", folder=work)
    sources: dict[str, Any] = {
        "interactions": spec.interactions.model_copy(update={"path": str(work / "target_ratings.parquet")}),  # type: ignore[union-attr]
        "catalogue": spec.catalogue.model_copy(update={"path": str(work / "target_content.parquet")}),  # type: ignore[union-attr]
    }
    changes = {"seed": seed, "out": str(work / f"half_next_item-{seed}"), "steps": 600, **sources}
    report: Any = pretrain(spec.model_copy(update=changes), resume=True)
    tower = SequenceTower.from_folder(report.folder)
    return lambda split: user_scorer(tower, split.train), note_of(report)


def note_of(report: Any) -> str:
    """What a run took."""
    return f"{report.steps} steps in {report.seconds:.0f} s, step {report.best_step} kept"


def made(way: str, work: Path, target: Target, seed: int) -> Made:
    """What one of `WAYS` comes to."""
    if way == "next_item":
        return next_item(work, seed)
    if way == "carried over as it is":
        return as_it_is(work, target, seed)
    out, changes = WAYS[way]
    if out in PROJECTED:
        return projected(work, target, seed, way)
    if way != SCRATCH:
        changes = {**changes, "initial": source(work, seed)}
    return universal(work, seed, out, **changes)


if __name__ == "__main__":
    main()
