"""The data of the default audio encoder, and how well it does on speakers and sounds that it never heard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

import encoders
from connector.adaptation import ContrastiveSpec, pretrain_contrastive
from encoders import Encoder
from encoders.media.audio import AudioLimits, decode_sound
from encoders.media.spectrogram import Spectrogram, log_mel
from examples.demo.sounds import captioned_sounds, wav

Vectors = NDArray[np.float32]
Hits = dict[str, NDArray[np.float64]]

NEAREST, WORD = "nearest clip of other speakers, same digit", "clip → its word"
SEEDS = (0, 1, 2)

SOUNDS, SOUND_SEED, HELD_SEED = 1500, 1, 2
DIGITS = "digits.parquet"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Played faster and slower, one voice sounds like several.
SPEEDS = (1.0, 0.84, 0.92, 1.09, 1.2)
RATE, STEPS = 16_000, 32


@dataclass
class Clips:
    """Spoken digits as they were recorded, and who says which."""

    contents: list[bytes]
    digits: NDArray[np.int64]
    speakers: NDArray[np.str_]


def digit_pairs(data: Path) -> pa.Table:
    """Spoken digits with their words and speakers, each at every one of `SPEEDS`."""
    import soxr

    clips = pq.read_table(data / "spoken_digits" / "clips.parquet")
    rows: dict[str, list[object]] = {"audio": [], "word": [], "digit": [], "speaker": []}
    for clip in clips.to_pylist():
        wave = decode_sound(clip["audio"], AudioLimits(), rate=RATE, seconds=10)
        for speed in SPEEDS:
            played = wave if speed == 1.0 else soxr.resample(wave, RATE * speed, RATE)
            rows["audio"].append(wav(played.astype(np.float64)))
            rows["word"].append(WORDS[clip["digit"]])
            rows["digit"].append(str(clip["digit"]))
            rows["speaker"].append(clip["speaker"])
    return pa.table({**rows, "audio": pa.array(rows["audio"], pa.binary())})


def clips(data: Path) -> Clips:
    """Read them."""
    table = pq.read_table(data / "spoken_digits" / "clips.parquet")
    return Clips(
        table["audio"].to_pylist(),
        np.asarray(table["digit"].to_pylist()),
        np.asarray(table["speaker"].to_pylist()),
    )


def held_out(spec: ContrastiveSpec, work: Path, data: Path, seeds: Sequence[int] = SEEDS) -> list[dict[str, Vectors]]:
    """The job once for each seed and speaker, without that speaker.

    Returns:
        for each seed: speaker → vectors of all clips, by the encoder that never heard that speaker.
    """
    table, asked = digit_pairs(data), clips(data)
    return [
        {speaker: _without(speaker, seed, spec, work, table, asked) for speaker in sorted(set(asked.speakers.tolist()))}
        for seed in seeds
    ]


def _without(speaker: str, seed: int, spec: ContrastiveSpec, work: Path, table: pa.Table, asked: Clips) -> Vectors:
    folder = work / f"without-{speaker}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.filter(pc.not_equal(table["speaker"], speaker)), folder / DIGITS)
    pairs = tuple(
        source.model_copy(update={"path": str(folder / DIGITS)}) if Path(source.path).name == DIGITS else source
        for source in spec.pairs
    )
    report = pretrain_contrastive(spec.model_copy(update={"pairs": pairs, "out": str(folder), "seed": seed}))
    with encoders.load(report.folder, name="audio") as encoder:
        vectors = encoder.encode(asked.contents)
    found = answers(asked, {speaker: vectors}, spoken_words())
    print(f"without {speaker}, seed {seed}: { ({name: float(hits.mean()) for name, hits in found.items()}) }")
    return vectors


def spoken_words() -> Vectors:
    """Vectors of the ten words, in the order of the digits."""
    with encoders.load("text") as text:
        return text.encode([f"a voice says {word}" for word in WORDS], "query")


def answers(asked: Clips, by_speaker: Mapping[str, Vectors], words: Vectors | None) -> Hits:
    """Question → 0 or 1 for each clip of those speakers, in their order: every clip is asked of its speaker's vectors.

    Args:
        words: vectors of the ten words, where the clips' vectors lie in their space.
    """
    found: dict[str, list[NDArray[np.bool_]]] = {NEAREST: []} | ({} if words is None else {WORD: []})
    for speaker, vectors in by_speaker.items():
        own = asked.speakers == speaker
        nearest = asked.digits[~own][np.argmax(vectors[own] @ vectors[~own].T, axis=1)]
        found[NEAREST].append(nearest == asked.digits[own])
        if words is not None:
            found[WORD].append(np.argmax(vectors[own] @ words.T, axis=1) == asked.digits[own])
    return {question: np.concatenate(hits).astype(np.float64) for question, hits in found.items()}


def sound_figures(encoder: Encoder) -> dict[str, float]:
    """Sounds of another seed: words → a sound of that name among the ten nearest, and sound → sound of its name."""
    table = captioned_sounds(HELD_SEED, 300)
    names = np.asarray(table["name"].to_pylist())
    vectors = encoder.encode(table["audio"].to_pylist())
    asked = sorted(set(names.tolist()))
    captions = dict(zip(names.tolist(), table["caption"].to_pylist(), strict=True))
    with encoders.load("text") as text:
        words = text.encode([captions[name] for name in asked], "query")
    best = names[np.argsort(-(words @ vectors.T), axis=1)[:, :10]]
    found = np.mean(
        [np.mean(row == name) / min(1.0, np.sum(names == name) / 10) for row, name in zip(best, asked, strict=True)]
    )
    alike = vectors @ vectors.T
    np.fill_diagonal(alike, -2)
    return {
        "made sounds: words → sounds, precision@10": float(found),
        "made sounds: nearest other sound, same name": float(np.mean(names[alike.argmax(axis=1)] == names)),
    }


def log_mels(contents: list[bytes]) -> Vectors:
    """The baseline's vectors, unit length: 40 log-mel bands at 32 times evenly spread over each sound."""
    settings = Spectrogram(window=400, hop=160, fft=512, mels=40, low=40.0, high=3800.0, scale="slaney", floor=1e-6)
    rows = []
    for content in contents:
        frames = log_mel(decode_sound(content, AudioLimits(), rate=RATE, seconds=10), RATE, settings)
        at = np.linspace(0, len(frames) - 1, STEPS)
        row = np.stack([np.interp(at, np.arange(len(frames)), band) for band in frames.T])
        rows.append((row - row.mean()).reshape(-1))
    matrix = np.stack(rows).astype(np.float32)
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), np.float32)


def card_figures(by_speaker: Sequence[str], sounds: Mapping[str, float]) -> str:
    """The part of the card that says how well it does beyond the rows of the job.

    Args:
        by_speaker: of `speaker_rows`; none without the real data.
    """
    words = ["", "## Beyond those rows", ""]
    if by_speaker:
        words += [
            "Spoken digits (Free Spoken Digit Dataset, CC BY-SA 4.0; 480 clips of 4 speakers). For each speaker the",
            f"whole job was run without that speaker, by {len(SEEDS)} seeds and asked about that speaker's clips.",
            "The weights that ship were trained on all four, so these figures are of the method, not of these weights.",
            "The rows held out above are no such test: other speeds of the same clips were trained on. Lowest and",
            "highest seed in brackets; docs/benchmarks.md has intervals, YAMNet and the controls.",
            "",
            "| speaker left out | nearest clip of another: same digit | the same by log-mel | clip → its word |",
            "|---|---|---|---|",
            *by_speaker,
            "",
            "Chance is 0.1. Four voices say little about all others.",
            "",
        ]
    words += [
        "Made sounds (tones, sirens, melodies, noises, beats) come from the generator of the training sounds, by",
        "another seed, so their figures say nothing about recordings.",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value:.3f} |" for name, value in sounds.items()),
        "",
        "It is a small encoder that lets everything run offline. It knows digits, tones and noises, and little else.",
        "For production, name a large one: any CLAP, wav2vec 2.0, AST or Whisper folder or Hugging Face id works in",
        "its place; of these only CLAP can be asked in words.",
        "",
    ]
    return "\n".join(words)


def speaker_rows(asked: Clips, trained: Sequence[Mapping[str, Vectors]]) -> Iterator[str]:
    """Rows of the card's table: each speaker's figures, mean over the seeds, lowest and highest; then all of them."""
    spoken, base = spoken_words(), log_mels(asked.contents)
    speakers = list(trained[0])
    for name, some in [(speaker, [speaker]) for speaker in speakers] + [("all four", speakers)]:
        runs = [answers(asked, {speaker: run[speaker] for speaker in some}, spoken) for run in trained]
        by_log_mel = answers(asked, dict.fromkeys(some, base), None)[NEAREST].mean()
        near, word = (_spread([float(run[question].mean()) for run in runs]) for question in (NEAREST, WORD))
        yield f"| {name} | {near} | {by_log_mel:.3f} | {word} |"


def _spread(means: Sequence[float]) -> str:
    return f"{np.mean(means):.3f} ({min(means):.3f} to {max(means):.3f})"
