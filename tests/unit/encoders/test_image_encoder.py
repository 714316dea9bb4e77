from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from encoders import EncoderLoadError, InvalidInputError, Runtime, external_contract
from encoders.image import ImageEncoder
from encoders.media.preprocessing import ImagePreprocessing

CONTRACT = external_contract("tiny", version=1, dimension=3, modality="image")


class Means(Runtime):
    """The mean colour of a picture."""

    label = "means"

    def __init__(self, workers: int = 1, accelerated: bool = False) -> None:
        self.workers = workers
        self.accelerated = accelerated
        self.sizes: list[int] = []

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        pixels = inputs["pixels"]
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == (16, 16, 3)
        self.sizes.append(len(pixels))
        return pixels.astype(np.float32).mean(axis=(1, 2))


def encoder(runtime: Runtime, **options: Any) -> ImageEncoder:
    return ImageEncoder(CONTRACT, ImagePreprocessing(16), runtime, **{"isolate": False, **options})


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("accelerated", [False, True])
def test_rows_keep_their_places_among_bad_ones(workers: int, accelerated: bool, picture: Callable[..., bytes]) -> None:
    good = [picture("PNG", seed=seed) for seed in range(5)]
    mixed: list[object] = []
    for data in good:
        mixed += [data, b"broken", None]
    with encoder(Means(workers, accelerated)) as images:
        result = images.encode_tolerant(mixed)
        wanted = images.encode(good)
    np.testing.assert_array_equal(result.vectors[::3], wanted)
    assert sorted(result.errors) == [row for row in range(15) if row % 3]
    assert len(np.unique(wanted, axis=0)) == 5


def test_batches_are_shared_out_among_workers(picture: Callable[..., bytes]) -> None:
    runtime = Means(workers=2)
    with encoder(runtime) as images:
        images.encode([picture("PNG")] * 6)
        assert sorted(runtime.sizes) == [1, 2, 3]
        runtime.sizes.clear()
        images.encode([picture("PNG")] * 40)
    # The last are small, so that both workers end together.
    assert sorted(runtime.sizes, reverse=True) == [8, 8, 8, 8, 4, 2, 1, 1]


def test_limits_can_be_set(picture: Callable[..., bytes]) -> None:
    with pytest.raises(InvalidInputError, match="limit of 10"):
        encoder(Means(), max_bytes=10).encode([picture("PNG")])
    with pytest.raises(InvalidInputError, match="1000 pixels"):
        encoder(Means(), max_pixels=1000).encode([picture("PNG")])


def test_pictures_are_decoded_in_processes_of_their_own(
    picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = [picture("JPEG", (300, 200), seed=seed) for seed in range(4)]
    with encoder(Means()) as here:
        wanted = here.encode(good)

    def refuse(*_: object) -> None:
        raise AssertionError("a picture was opened in the serving process")

    monkeypatch.setattr("PIL.Image.open", refuse)
    with encoder(Means(workers=2), isolate=True) as images:
        result = images.encode_tolerant([*good, b"broken", None])
    np.testing.assert_array_equal(result.vectors[:4], wanted)
    assert sorted(result.errors) == [4, 5]
    assert result.errors[4].startswith("not a picture in a known format")
    assert result.errors[5] == "picture is null"


def test_a_picture_that_takes_too_long_fails_its_row_alone(picture: Callable[..., bytes]) -> None:
    quick = [picture("PNG", (8, 8), seed=seed) for seed in range(2)]
    slow = endless()
    with encoder(Means(), isolate=True, seconds=0.5, max_scans=len(slow)) as images:
        result = images.encode_tolerant([quick[0], slow, quick[1]])
    assert list(result.errors) == [1]
    assert "took longer to decode" in result.errors[1]
    assert len(np.unique(result.vectors[[0, 2]], axis=0)) == 2


def test_unknown_options_are_named() -> None:
    with pytest.raises(EncoderLoadError, match="max_smell"):
        encoder(Means(), max_smell=3)


def endless() -> bytes:
    """A JPEG of 5,000 scans over nine megapixels: half a minute of work in a megabyte."""
    stream = io.BytesIO()
    Image.new("RGB", (3000, 3000), "teal").save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 5000 + data[-2:]
