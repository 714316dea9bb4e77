"""`python -m benchmarks.evaluate_digits`: spoken digits of a speaker that the audio encoder never heard.

The job of the shipped audio encoder is run for every speaker and seed without that speaker (twelve trainings, ten
minutes on two cores), beside log-mel frames, YAMNet and controls. Writes benchmarks/results/digits.json. Needs the real
data; YAMNet's rows need `ai-edge-litert`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console

import encoders
from benchmarks import yamnet
from benchmarks.__main__ import table
from benchmarks.data import real_data
from benchmarks.default_audio import (
    NEAREST,
    SEEDS,
    SOUND_SEED,
    SOUNDS,
    Clips,
    Hits,
    Vectors,
    answers,
    clips,
    held_out,
    log_mels,
    spoken_words,
)
from benchmarks.harness import ROOT, Figure, write_results
from benchmarks.seeds import with_interval
from connector.adaptation import ContrastiveSpec, load_spec
from connector.adaptation.towers import build_tower
from connector.evaluation import Interval, difference, interval, random_vectors, shuffled
from examples.demo.sounds import captioned_sounds

OURS, LOG_MEL, YAMNET = "contrastive towards words", "log-mel frames", "YAMNet"
UNTRAINED, DEALT, RANDOM = "untrained network", "vectors dealt to other clips", "random vectors"
DIMENSION = 384


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    data = real_data()
    if data is None:
        raise SystemExit("no real data: set CONNECTOR_DATA")
    with tempfile.TemporaryDirectory() as name:
        found = evaluate(Path(name), data)
    figures = list(rows(found))
    seeds = ", ".join(map(str, SEEDS))
    write_results("digits", figures, {"clips": len(found[OURS][0][NEAREST]), "speakers": 4, "seeds": seeds})
    Console(width=160).print(table({"digits": figures}))


def evaluate(work: Path, data: Path) -> dict[str, list[Hits]]:
    """System → for each of its seeds: question → 0 or 1 for each clip."""
    pq.write_table(captioned_sounds(SOUND_SEED, SOUNDS), work / "sounds.parquet")
    spec = load_spec(ROOT / "examples" / "pretrain" / "default_audio.yaml", folder=work)
    assert isinstance(spec, ContrastiveSpec)
    asked, words = clips(data), spoken_words()
    speakers = sorted(set(asked.speakers.tolist()))

    def ask(vectors: Vectors, spoken: Vectors | None) -> Hits:
        return answers(asked, dict.fromkeys(speakers, vectors), spoken)

    trained = held_out(spec, work, data)
    found = {OURS: [answers(asked, run, words) for run in trained], LOG_MEL: [ask(log_mels(asked.contents), None)]}
    reason = yamnet.missing(data)
    if reason is None:
        found[YAMNET] = [ask(yamnet.features(data, asked.contents), None)]
    else:
        print(f"without YAMNet: {reason}")
    found[UNTRAINED] = [ask(_untrained(spec, seed, work, asked), words) for seed in SEEDS]
    found[DEALT] = [
        answers(asked, {name: shuffled(vectors, seed) for name, vectors in run.items()}, words)
        for seed, run in zip(SEEDS, trained, strict=True)
    ]
    found[RANDOM] = [ask(random_vectors(len(asked.contents), DIMENSION, seed), words) for seed in SEEDS]
    return found


def rows(found: dict[str, list[Hits]]) -> Iterator[Figure]:
    """Means over the seeds with 95 % intervals over clips, what lies between the seeds, and beside log-mel frames."""
    base = found[LOG_MEL][0][NEAREST]
    for question in found[OURS][0]:
        for name, runs in found.items():
            if question not in runs[0]:
                continue
            hits = _mean(runs, question)
            against: dict[str, Any] = {}
            if name == OURS and question == NEAREST:
                against = {"baseline": LOG_MEL, "baseline_value": float(base.mean())}
            trainings = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
            yield with_interval(f"{question}: {name}{trainings}", interval(hits), **against)
    means = [float(run[NEAREST].mean()) for run in found[OURS]]
    spread = Interval(float(np.median(means)), min(means), max(means))
    yield with_interval(f"{NEAREST}: {OURS}, lowest and highest seed", spread)
    gain = difference(_mean(found[OURS], NEAREST), base)
    yield with_interval(f"{NEAREST}: {OURS} beyond {LOG_MEL}, paired", gain)


def _mean(runs: Sequence[Hits], question: str) -> np.ndarray:
    return np.mean([run[question] for run in runs], axis=0)


def _untrained(spec: ContrastiveSpec, seed: int, work: Path, asked: Clips) -> Vectors:
    """The same architecture before it learned anything."""
    import torch

    torch.manual_seed(seed)
    folder = build_tower(spec.tower, DIMENSION, ("text",), "audio").save(work / f"untrained-{seed}")
    with encoders.load(folder, name="audio", modality="audio") as encoder:
        return encoder.encode(asked.contents)


if __name__ == "__main__":
    main()
