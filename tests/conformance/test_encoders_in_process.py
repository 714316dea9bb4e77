"""The encoder suite on the shipped encoders, in this process."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageDraw

import encoders
from connector.testing.encoder_suite import EncoderSuite, Vectors
from encoders import Encoder
from encoders.source import default_folder
from tests.media_files import film, sound

TEXTS = [
    "sour green apple",
    "A red floral dress, knee-length, cotton.",
    "Toys come to life when nobody watches. " * 30,
    "Δοκιμή: ünïcødé, 日本語, 🍏",
    "x",
]


def shapes(kind: str, colour: str, size: tuple[int, int], form: str = "ellipse") -> bytes:
    """An encoded picture of one shape."""
    image = Image.new("RGB", size, "white")
    getattr(ImageDraw.Draw(image), form)((size[0] // 5, size[1] // 5, size[0] * 4 // 5, size[1] * 4 // 5), fill=colour)
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="module")
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Exports that these tests provoke stay in a folder of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


class TestDefaultText(EncoderSuite):
    runtime = "onnx"

    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, private_cache: None) -> Iterator[Encoder]:
        with encoders.load("text", runtime=cls.runtime) as encoder:
            yield encoder

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[object]:
        return [*TEXTS, b"bytes as well"]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls) -> list[object]:
        return [None, "", "  \n", b"\xff\xfe", 7, "\ud800", "x" * 1_000_000]

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls, valid_inputs: list[object]) -> Vectors:
        """The same weights through transformers alone: its tokenizer, its model, mean of the tokens."""
        import torch
        from transformers import AutoModel, AutoTokenizer

        folder = default_folder("text")
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
        rows = []
        for item in valid_inputs:
            text = item.decode() if isinstance(item, bytes) else item
            tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
            with torch.no_grad():
                rows.append(model(**tokens).last_hidden_state[0].mean(dim=0).numpy())
        vectors = np.stack(rows)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def test_the_contract_is_the_tracked_one(self, encoder: Encoder) -> None:
        assert encoder.contract == encoders.default_contract("text")


class TestDefaultTextOnTorch(TestDefaultText):
    runtime = "torch"


class TestDefaultImage(EncoderSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, private_cache: None) -> Iterator[Encoder]:
        with encoders.load("image", runtime="onnx") as encoder:
            yield encoder

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[bytes]:
        return [
            shapes("JPEG", "red", (300, 200)),
            shapes("PNG", "green", (128, 128), "rectangle"),
            shapes("WEBP", "blue", (90, 400), "rectangle"),
            shapes("GIF", "black", (64, 64)),
        ]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls, valid_inputs: list[bytes]) -> list[object]:
        damaged = [valid_inputs[0][:400], valid_inputs[1][:-40], b"GIF89a" + b"\xff" * 50]
        return [None, b"", b"no picture", "red", *damaged]

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls, valid_inputs: list[bytes]) -> Vectors:
        """The same weights on torch."""
        with encoders.load("image", runtime="torch") as encoder:
            return encoder.encode(valid_inputs)

    def test_the_contract_is_the_tracked_one(self, encoder: Encoder) -> None:
        assert encoder.contract == encoders.default_contract("image")


class TestDefaultAudio(EncoderSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, private_cache: None) -> Iterator[Encoder]:
        with encoders.load("audio", runtime="onnx") as encoder:
            yield encoder

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[bytes]:
        kinds = ("wav", "flac", "mp3", "vorbis")
        return [sound(kind, seconds=0.5 + n / 3, hertz=200.0 * 2**n) for n, kind in enumerate(kinds)]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls, valid_inputs: list[bytes]) -> list[object]:
        return [None, b"", b"no sound", "tone", valid_inputs[0][:-300], shapes("PNG", "red", (8, 8))]

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls, valid_inputs: list[bytes]) -> Vectors:
        """The same weights on torch, decoded in this process."""
        with encoders.load("audio", runtime="torch", isolate=False) as encoder:
            return encoder.encode(valid_inputs)

    def test_the_contract_is_the_tracked_one(self, encoder: Encoder) -> None:
        assert encoder.contract == encoders.default_contract("audio")


class TestDefaultVideo(EncoderSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, private_cache: None) -> Iterator[Encoder]:
        with encoders.load("video", runtime="onnx") as encoder:
            yield encoder

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[bytes]:
        return [film(frames=12), film("webm", frames=30, seed=2), film("avi", frames=5, size=(64, 64), seed=3)]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls, valid_inputs: list[bytes]) -> list[object]:
        return [None, b"", b"no film", "film", valid_inputs[0][:-300], sound()]

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls, valid_inputs: list[bytes]) -> Vectors:
        """The same weights on torch, decoded in this process."""
        with encoders.load("video", runtime="torch", isolate=False) as encoder:
            return encoder.encode(valid_inputs)

    def test_the_contract_is_the_tracked_one(self, encoder: Encoder) -> None:
        assert encoder.contract == encoders.default_contract("video")
        encoders.require_shared_space(encoder.contract, encoders.default_contract("text"))
        encoders.require_shared_space(encoder.contract, encoders.default_contract("image"))
