"""The encoder suite through a real Triton: the same rows as in process, tiny encoders and the shipped ones."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import encoders
from connector.config import TritonSettings
from connector.serving import LocalTriton, TritonClient
from connector.serving.payloads import MAX_REQUEST_BYTES
from connector.serving.processes import wait_until
from connector.serving.repository import read_contract
from connector.testing import EncoderSuite
from encoders.base import Encoder
from encoders.wire import pack
from tests.media_files import film, sound
from tests.triton_fixtures import shipped

pytestmark = pytest.mark.triton

TEXTS = [
    "a red dress",
    "Toys come to life when nobody watches. " * 40,
    "sour green apple",
    "é ü 漢字 😀",
    "a wooden chair with four legs and a high back",
]
BAD_TEXTS = [None, "", " \n", b"\xff\xfe", 3, "x" * 300_000, "\ud800"]
BAD_PICTURES = [None, b"", b"no picture", "photo.jpg", 3.5]

SOUNDS = [
    sound(seconds=0.4, hertz=300),
    sound("flac", seconds=1.1, hertz=900, rate=44_100, channels=2),
    sound("mp3", seconds=2.0, hertz=500),
    sound("vorbis", seconds=0.7, hertz=1_500),
]
BAD_SOUNDS = [None, b"", b"no sound", "clip.wav", 3.5, SOUNDS[0][:-500], film()]
FILMS = [film(frames=12), film("webm", frames=30, seed=2), film("avi", frames=5, size=(64, 64), seed=3)]
BAD_FILMS = [None, b"", b"no film", "film.mp4", 3.5, FILMS[0][:-500], SOUNDS[0]]


def picture(width: int, height: int, kind: str, seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    output = io.BytesIO()
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(output, kind)
    return output.getvalue()


@pytest.mark.parametrize("name", sorted({*shipped()} - {"fused"}))
def test_the_tracked_description_is_the_published_one(name: str, model_repository: Path) -> None:
    tracked = Path(__file__).parents[2] / "triton_models" / name
    for file in ("config.pbtxt", "warmup/sample", "1/encoder.json", "1/model.py"):
        assert (tracked / file).read_bytes() == (model_repository / name / file).read_bytes(), file


class OnTriton(EncoderSuite):
    """An encoder of `model_repository` on a server, held to the same encoder in process."""

    name: str
    version = 1

    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, encoder_server: LocalTriton, model_repository: Path) -> Iterator[Encoder]:
        contract = read_contract(model_repository / cls.name / str(cls.version))
        # A machine that stands still for a second ends Triton (ADR 0024); with twenty models it is back in a minute.
        settings = TritonSettings(batch_size=4, in_flight=3, retries=16)
        assert wait_until(lambda: encoder_server._service().ready, 240)
        with TritonClient(encoder_server.grpc_url, settings) as client:
            yield client.encoder(contract)

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls, model_repository: Path, valid_inputs: Sequence[Any]) -> np.ndarray:
        with encoders.load(model_repository / cls.name / str(cls.version)) as encoder:
            return encoder.encode(valid_inputs)

    def test_the_query_side_agrees_with_the_encoder_in_process(
        self, encoder: Encoder, valid_inputs: Sequence[Any], model_repository: Path
    ) -> None:
        with encoders.load(model_repository / self.name / str(self.version)) as local:
            wanted = local.encode(valid_inputs, "query")
        cosine = (encoder.encode(valid_inputs, "query") * wanted).sum(1) / np.linalg.norm(wanted, axis=1) ** 2
        assert (cosine >= 0.9999).all()

    def test_more_rows_than_the_server_takes_at_once(self, encoder: Encoder, valid_inputs: Sequence[Any]) -> None:
        rows = list(valid_inputs) * 14
        vectors = encoder.encode(rows)
        np.testing.assert_allclose(vectors[-len(valid_inputs) :], vectors[: len(valid_inputs)], atol=1e-4)


class TextOnTriton(OnTriton):
    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[str]:
        return TEXTS

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls) -> list[Any]:
        return BAD_TEXTS


class ImageOnTriton(OnTriton):
    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[bytes]:
        return [
            picture(64, 64, "PNG", 1),
            picture(300, 200, "JPEG", 2),
            picture(20, 90, "PNG", 3),
            picture(128, 128, "WEBP", 4),
        ]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls, valid_inputs: list[bytes]) -> list[Any]:
        return [*BAD_PICTURES, valid_inputs[1][: len(valid_inputs[1]) // 2]]


class AudioOnTriton(OnTriton):
    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[bytes]:
        return SOUNDS

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls) -> list[Any]:
        return BAD_SOUNDS


class VideoOnTriton(OnTriton):
    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[bytes]:
        return FILMS

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls) -> list[Any]:
        return BAD_FILMS


class TestTinyText(TextOnTriton):
    name = "tiny_text"

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[str]:
        return ["red dress", "green apple 123", "chair chair. " * 30]


class TestTinyTextOfAnotherVersion(TestTinyText):
    version = 2


class TestTinyInt8(TestTinyText):
    """8 bits, whose activations are scaled anew for each run: a vector must not depend on its neighbours."""

    name = "tiny_int8"


class TestTinyImage(ImageOnTriton):
    name, version = "tiny_image", 3


class TestTinySequence(OnTriton):
    name = "tiny_sequence"

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[Any]:
        return ["i3", b"i0", "i8", "i5"]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls) -> list[Any]:
        return [None, "", "unheard of", b"\xff", 3.5]

    def test_histories_in_every_form(self, encoder: Encoder, model_repository: Path) -> None:
        histories = [["i1", "i2", "i3"], ("i4",), {"items": ["i1"] * 40}, b'["i7", "gone", "i0"]']
        with encoders.load(model_repository / self.name / "1") as local:
            wanted = local.encode(histories, "query")
        np.testing.assert_allclose(encoder.encode(histories, "query"), wanted, atol=1e-5)
        result = encoder.encode_tolerant([[], ["i1"], ["gone"], {"x": 1}], "query")
        assert sorted(result.errors) == [0, 2, 3]


class TestTinyMasked(TestTinySequence):
    """Both ways along a history, with a mask where the next item would be."""

    name = "tiny_masked"


class TestTinyUniversal(OnTriton):
    name = "tiny_universal"

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[Any]:
        return ["i3", b"i0", [0.5, -1.0, 2.0, 0.25], np.ones(4, np.float32)]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls) -> list[Any]:
        return [None, "", "unheard of", b"\xff", 3.5, [0.0] * 4, [1.0] * 5]

    def test_the_query_side_lies_in_the_same_space(
        self, encoder: Encoder, valid_inputs: list[Any], vectors: Any, model_repository: Path
    ) -> None:
        """A history asks for what comes next, which need not be what it holds."""
        histories = [["i1", "i2"], [[0.5, -1.0, 2.0, 0.25], [1.0] * 4], {"vectors": np.eye(4, dtype=np.float32)}]
        with encoders.load(model_repository / self.name / "1") as local:
            wanted = local.encode(histories, "query")
        np.testing.assert_allclose(encoder.encode(histories, "query"), wanted, atol=1e-5)


class TestTinyProjected(TestTinyUniversal):
    """The mean of a history, and a network without a transformer."""

    name = "tiny_projected"


@pytest.mark.skipif("text" not in shipped(), reason="the weights of the shipped text encoder are not here")
class TestShippedText(TextOnTriton):
    name = "text"


@pytest.mark.skipif("image" not in shipped(), reason="the weights of the shipped image encoder are not here")
class TestShippedImage(ImageOnTriton):
    name = "image"


class TestTinyItem(OnTriton):
    """An ensemble over tiny members."""

    name = "tiny_item"

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[Any]:
        return [
            {"text": "red dress", "image": picture(64, 64, "PNG", 1)},
            {"text": "green apple 123"},
            {"text": "", "image": picture(300, 200, "JPEG", 2)},
            pack({"text": "chair " * 30, "image": picture(20, 90, "PNG", 3)}),
        ]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls) -> list[Any]:
        whole = {"text": "red dress", "image": b"no picture"}
        return [None, {}, {"text": None}, whole, {"text": " \n"}, {"smell": b"rose"}, {"text": 3.5}, "red", b"no item"]

    def test_reasons_are_those_in_process(
        self, encoder: Encoder, bad_inputs: list[Any], model_repository: Path
    ) -> None:
        with encoders.load(model_repository / self.name / str(self.version)) as local:
            assert encoder.encode_tolerant(bad_inputs).errors == local.encode_tolerant(bad_inputs).errors


@pytest.mark.skipif("text" not in shipped(), reason="the weights of the shipped text encoder are not here")
class TestItemOfShippedMembers(TestTinyItem):
    """The next version of the same name, over other members: both are served at once."""

    version = 2


@pytest.mark.skipif("fused" not in shipped(), reason="the shipped encoders are not all here")
class TestShippedItem(OnTriton):
    """An ensemble over all four shipped encoders."""

    name = "fused"

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[Any]:
        shown = picture(64, 64, "PNG", 1)
        return [
            {"text": "red dress", "image": shown, "audio": SOUNDS[0], "video": FILMS[0]},
            {"audio": SOUNDS[1], "video": FILMS[1]},
            {"text": "green apple"},
            pack({"image": shown, "audio": b""}),
        ]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls) -> list[Any]:
        return [None, {}, {"image": b"no picture"}, {"video": FILMS[0], "audio": film()}, {"smell": b"rose"}]


class TestTinyAudio(AudioOnTriton):
    """A network that takes waves, and is told what of them is real."""

    name = "tiny_audio"


@pytest.mark.skipif("audio" not in shipped(), reason="the weights of the shipped audio encoder are not here")
class TestShippedAudio(AudioOnTriton):
    name = "audio"

    def test_a_sound_larger_than_a_request_is_encoded(self, encoder: Encoder) -> None:
        large = sound("wav float", seconds=70.0, rate=48_000)
        assert len(large) > MAX_REQUEST_BYTES
        np.testing.assert_allclose(np.linalg.norm(encoder.encode([large, SOUNDS[0]]), axis=1), 1, atol=1e-3)


@pytest.mark.skipif("video" not in shipped(), reason="the weights of the shipped image encoder are not here")
class TestShippedVideo(VideoOnTriton):
    name = "video"
