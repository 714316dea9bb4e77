"""Sounds made by formulas, with words for them: tones, sweeps, melodies, noises and beats."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

RATE = 16_000
Wave = NDArray[np.float64]

HEIGHTS = {"low": (110.0, 260.0), "middle": (330.0, 700.0), "high": (900.0, 2400.0)}
TIMBRES = ("pure", "hollow", "bright", "buzzing")
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11, 12), (0, 2, 3, 5, 7, 8, 10, 12)
NOISES = {"white": 0.0, "pink": 0.5, "brown": 1.0}
NOISE_WORDS = {
    "white": "hissing white noise",
    "pink": "soft pink noise like rain",
    "brown": "deep rumbling brown noise",
}


@dataclass(frozen=True)
class Sound:
    """One sound.

    Attributes:
        kind: `tone`, `sweep`, `melody`, `noise` or `beat`.
        name: what sounds of the same meaning share.
        caption: the name in a sentence.
        samples: in -1..1 at `RATE`.
    """

    kind: str
    name: str
    caption: str
    samples: Wave


def captioned_sounds(seed: int, size: int) -> pa.Table:
    """`size` sounds with words: `kind`, `name`, `caption`, and `audio`, WAV files of 16 bits at 16 kHz."""
    random = np.random.default_rng(seed)
    sounds = [draw(random, index) for index in range(size)]
    return pa.table(
        {
            "kind": [sound.kind for sound in sounds],
            "name": [sound.name for sound in sounds],
            "caption": [sound.caption for sound in sounds],
            "audio": pa.array([wav(sound.samples) for sound in sounds], pa.binary()),
        }
    )


def draw(random: np.random.Generator, index: int) -> Sound:
    """A sound; kinds follow one another by `index`."""
    makers = (_tone, _sweep, _melody, _noise, _beat)
    return makers[index % len(makers)](random)


def wav(samples: Wave, rate: int = RATE) -> bytes:
    """A WAV file of 16 bits."""
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, np.clip(samples, -1, 1), rate, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def _tone(random: np.random.Generator) -> Sound:
    height, timbre = str(random.choice(list(HEIGHTS))), str(random.choice(TIMBRES))
    hertz = np.exp(random.uniform(*np.log(HEIGHTS[height])))
    time = _time(random)
    name = f"{height} {timbre} tone"
    return Sound("tone", name, f"a steady {name}", _finished(random, _voice(timbre, hertz * time)))


def _sweep(random: np.random.Generator) -> Sound:
    rising, timbre = bool(random.integers(2)), str(random.choice(TIMBRES[:2]))
    ends = np.sort(random.uniform(np.log(150), np.log(3000), 2)) + np.array([-0.3, 0.3])
    time = _time(random)
    course = np.linspace(*(ends if rising else ends[::-1]), len(time))
    phase = np.cumsum(np.exp(course)) / RATE
    name = "rising siren" if rising else "falling siren"
    return Sound("sweep", name, f"a {name} sweep", _finished(random, _voice(timbre, phase)))


def _melody(random: np.random.Generator) -> Sound:
    scale, mood = ((MAJOR, "happy major"), (MINOR, "sad minor"))[int(random.integers(2))]
    way = ("rising", "falling")[int(random.integers(2))]
    notes = np.array(scale)[:: 1 if way == "rising" else -1]
    base, timbre = random.uniform(180, 420), str(random.choice(TIMBRES))
    beat = int(RATE * random.uniform(0.12, 0.2))
    fade = np.exp(-np.arange(beat) / beat * 2)
    played = [_voice(timbre, base * 2 ** (note / 12) * np.arange(beat) / RATE) * fade for note in notes]
    name = f"{mood} {way} melody"
    return Sound("melody", name, f"a {name}, note by note", _finished(random, np.concatenate(played)))


def _noise(random: np.random.Generator) -> Sound:
    colour = str(random.choice(list(NOISES)))
    samples = _coloured(random, len(_time(random)), NOISES[colour])
    return Sound("noise", f"{colour} noise", NOISE_WORDS[colour], _finished(random, samples))


def _beat(random: np.random.Generator) -> Sound:
    quick = bool(random.integers(2))
    drum = bool(random.integers(2))
    time = _time(random, 1.0, 1.8)
    period = int(RATE / (random.uniform(6, 9) if quick else random.uniform(2, 3)))
    since = np.arange(len(time)) % period
    fade = np.exp(-since / RATE * (25 if drum else 120))
    body = np.sin(2 * np.pi * random.uniform(60, 110) * since / RATE) if drum else random.normal(0, 0.5, len(time))
    name = f"{'fast' if quick else 'slow'} {'drum beat' if drum else 'ticking clock'}"
    return Sound("beat", name, f"a {name}", _finished(random, body * fade))


def _time(random: np.random.Generator, least: float = 0.5, most: float = 1.6) -> Wave:
    return np.arange(int(RATE * random.uniform(least, most))) / RATE


def _voice(timbre: str, turns: Wave) -> Wave:
    """A periodic wave; `turns` counts its periods."""
    angle = 2 * np.pi * turns
    shapes: dict[str, Callable[[], Wave]] = {
        "pure": lambda: np.sin(angle),
        "hollow": lambda: np.sin(angle) + np.sin(3 * angle) / 3 + np.sin(5 * angle) / 5,
        "bright": lambda: np.asarray(sum(np.sin(k * angle) / k for k in range(1, 7))),
        "buzzing": lambda: np.asarray(sum(np.sin(k * angle) for k in range(1, 12)) / 4),
    }
    return shapes[timbre]()


def _coloured(random: np.random.Generator, length: int, slope: float) -> Wave:
    spectrum = np.fft.rfft(random.normal(size=length))
    hertz = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 40.0)
    shaped: Wave = np.fft.irfft(spectrum / hertz**slope, length)
    return shaped


def _finished(random: np.random.Generator, samples: Wave) -> Wave:
    """At a random loudness, soft at both ends, over a little hiss."""
    edge = np.clip(np.minimum(np.arange(len(samples)), np.arange(len(samples))[::-1]) / 200, 0, 1)
    loud = samples / max(float(np.abs(samples).max()), 1e-9) * random.uniform(0.15, 0.9) * edge
    finished: Wave = loud + random.normal(0, 10 ** random.uniform(-4.5, -2.7), len(samples))
    return finished
