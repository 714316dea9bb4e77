"""YAMNet (Google Coral, Apache-2.0), trained on AudioSet: as a baseline. Reading its file needs `ai-edge-litert`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from connector.evaluation.content import unit
from encoders.media.audio import AudioLimits, decode_sound

FILE = Path("encoders") / "yamnet_spectra_in.tflite"
RATE, FRAMES, HOP, WIDTH = 16_000, 96, 48, 1024


def missing(data: Path) -> str | None:
    """Why YAMNet cannot be had here, in words, or None where it can."""
    from importlib.util import find_spec

    if not (data / FILE).is_file():
        return "no YAMNet file"
    if find_spec("ai_edge_litert") is None:
        return "ai-edge-litert is not installed (pip install 'multimodal-connector[defaults]')"
    return None


def features(data: Path, sounds: list[bytes]) -> NDArray[np.float32]:
    """What its classifier reads, averaged over windows of 0.96 s: sound files → float32 [n, 1024], unit length."""
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(str(data / FILE), num_threads=1, experimental_preserve_all_tensors=True)
    network.allocate_tensors()
    taken = network.get_input_details()[0]["index"]
    given = next(
        detail["index"]
        for detail in reversed(network.get_tensor_details())
        if detail["shape"].tolist() in ([1, WIDTH], [1, 1, 1, WIDTH])
    )
    rows = []
    for sound in sounds:
        found = []
        for patch in _patches(decode_sound(sound, AudioLimits(), rate=RATE, seconds=10)):
            network.set_tensor(taken, patch[None])
            network.invoke()
            found.append(network.get_tensor(given).reshape(-1))
        rows.append(np.mean(found, axis=0))
    return unit(np.stack(rows).astype(np.float32))


def _patches(wave: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Windows of log-mel frames, float32 [96, 64] each, as its authors make them (magnitudes, not powers)."""
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    least = (FRAMES - 1) * 160 + 400
    wave = np.pad(wave, (0, max(0, least - len(wave))))
    bank = mel_filter_bank(257, 64, 125.0, 7500.0, RATE, mel_scale="htk", triangularize_in_mel_space=True)
    window = window_function(400, "hann", periodic=True)
    powers = spectrogram(wave, window, 400, 160, fft_length=512, power=1.0, center=False, mel_filters=bank)
    frames = np.log(powers.T + 0.001).astype(np.float32)
    return [frames[start : start + FRAMES] for start in range(0, len(frames) - FRAMES + 1, HOP)]
