"""Audio and video encoders apart from any one network: rows, buckets, limits and what a network gets wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from encoders import EncoderContract, EncoderLoadError
from encoders.audio import AudioEncoder
from encoders.media.audio_preprocessing import AudioPreprocessing
from encoders.media.preprocessing import ImagePreprocessing
from encoders.media.video import VideoPreprocessing
from encoders.runtime import Runtime
from encoders.video import VideoEncoder
from tests.media_files import film, sound


class Loudness(Runtime):
    """Gives each row its mean of absolute values, and keeps the shapes it was run with."""

    def __init__(self, *, accelerated: bool = False) -> None:
        self._accelerated = accelerated
        self.shapes: list[tuple[int, ...]] = []

    @property
    def accelerated(self) -> bool:
        return self._accelerated

    @property
    def workers(self) -> int:
        return 1

    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        values = next(iter(inputs.values()))
        self.shapes.append(values.shape)
        found = np.abs(values.astype(np.float32)).reshape(len(values), -1).mean(axis=1, keepdims=True)
        # A network that breaks on what is very quiet.
        return np.where(found < 1e-4, np.nan, found).astype(np.float32)


def contract(modality: Any) -> EncoderContract:
    return EncoderContract("tiny", 1, modality, 1, "L2", "mean", False, 1, "0" * 64, "0" * 64)


def audio(runtime: Runtime | None = None, **options: Any) -> AudioEncoder:
    preprocessing = AudioPreprocessing(16_000, 32_000, multiple=4_000)
    return AudioEncoder(contract("audio"), preprocessing, runtime or Loudness(), isolate=False, **options)


def test_rows_of_one_bucket_run_together_and_come_back_in_order() -> None:
    runtime = Loudness()
    items = [sound(seconds=s) for s in (0.2, 1.9, 0.21, 1.1, 0.24, 1.95, 1.15)]
    with audio(runtime) as encoder:
        vectors = encoder.encode(items)
        assert sorted(runtime.shapes) == [(2, 20_000), (2, 32_000), (3, 4_000)]
        for item, vector in zip(items, vectors, strict=True):
            np.testing.assert_array_equal(encoder.encode([item])[0], vector)


@pytest.mark.parametrize("accelerated", [False, True])
def test_a_batch_is_cut_to_what_the_device_takes(accelerated: bool) -> None:
    runtime = Loudness(accelerated=accelerated)
    with audio(runtime) as encoder:
        encoder.encode([sound(seconds=0.1)] * 70)
    assert max(shape[0] for shape in runtime.shapes) <= (64 if accelerated else 8)
    assert sum(shape[0] for shape in runtime.shapes) == 70


def test_a_vector_that_is_not_finite_is_an_error_of_its_row() -> None:
    with audio() as encoder:
        result = encoder.encode_tolerant([sound(), sound("wav float", np.zeros(1_000, np.float32)), b"", sound()])
    assert sorted(result.errors) == [1, 2]
    assert "not finite" in result.errors[1]
    assert np.isfinite(result.vectors).all()


def test_limits_are_options() -> None:
    with audio(max_seconds=1) as encoder:
        assert sorted(encoder.encode_tolerant([sound(seconds=0.5), sound(seconds=1.5)]).errors) == [1]
    with pytest.raises(EncoderLoadError, match="max_smell"):
        audio(max_smell=1)
    preprocessing = VideoPreprocessing(2, ImagePreprocessing(16))
    runtime = Loudness()
    with VideoEncoder(contract("video"), preprocessing, runtime, isolate=False, max_frames=10) as encoder:
        assert sorted(encoder.encode_tolerant([film(frames=8), film(frames=12), film(frames=9)]).errors) == [1]
    assert {shape[1:] for shape in runtime.shapes} == {(2, 16, 16, 3)}


def test_closing_twice_is_fine_and_what_is_closed_opens_again() -> None:
    encoder = AudioEncoder(contract("audio"), AudioPreprocessing(16_000, 32_000), Loudness())
    first = encoder.encode([sound()])
    encoder.close()
    encoder.close()
    np.testing.assert_array_equal(encoder.encode([sound()]), first)
    encoder.close()
