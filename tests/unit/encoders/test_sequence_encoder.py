from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import encoders
from connector.testing import EncoderSuite
from encoders import Encoder
from encoders.errors import InvalidInputError
from encoders.sequence import SequencePreprocessing
from encoders.wire import pack
from tests.unit.encoders import tiny_models

IDS = [f"i{item}" for item in range(9)]


@pytest.fixture(scope="class")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tiny_models.sequence(tmp_path_factory.mktemp("sequence") / "tower")
    target = source.parent / "encoder"
    encoders.export(source, target, name="next")
    return target


class TestSequenceEncoder(EncoderSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, folder: Path) -> Iterator[Encoder]:
        with encoders.load(folder) as encoder:
            yield encoder

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[Any]:
        return ["i3", b"i0", "i8", "i5"]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls) -> list[Any]:
        return [None, "", "unheard of", b"\xff", 3.5, True]

    def test_a_history_is_the_same_in_every_form(self, encoder: Encoder) -> None:
        names = ["i1", "gone", "i2", "i3"]
        forms = [
            names,
            tuple(names),
            np.asarray(names),
            {"items": names},
            b'["i1","gone","i2","i3"]',
            pack({"items": names}),
        ]
        vectors = encoder.encode(forms, "query")
        np.testing.assert_allclose(vectors, np.tile(vectors[:1], (len(forms), 1)), atol=1e-6)
        np.testing.assert_allclose(encoder.encode(["i4"], "query"), encoder.encode([["i4"]], "query"), atol=1e-6)
        order = encoder.encode([names[::-1]], "query")
        assert not np.allclose(order, vectors[:1], atol=1e-3)

    def test_only_the_newest_items_count(self, encoder: Encoder) -> None:
        recent = [IDS[item % 9] for item in range(12)]
        vectors = encoder.encode([recent, ["i7"] * 500 + recent], "query")
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)

    @pytest.mark.parametrize(
        ("history", "reason"),
        [
            ([], "the history is empty"),
            (b"[]", "the history is empty"),
            (["gone", "lost"], "none of the history's 2 items"),
            (b"[1, [2]]", "expected an item id, got list"),
            (b"[", "not a JSON array"),
            ({"item": ["i1"]}, "expected a list of item ids, got NoneType"),
            (pack({"items": np.zeros(2, np.float32)}), "expected an item id, got float"),
            (b"\x10\x00\x00\x00\x00\x00\x00\x00{", "safetensors"),
            (["i1"] * 100_001, "over the limit"),
            (7, "none of the history's 1 items"),
            (7.5, "expected a list of item ids, got float"),
            ([[1, 2], [3, 4]], "takes item ids, not content vectors"),
        ],
    )
    def test_a_history_that_is_none(self, encoder: Encoder, history: Any, reason: str) -> None:
        result = encoder.encode_tolerant([["i1"], history], "query")
        assert list(result.errors) == [1]
        assert reason in result.errors[1]
        with pytest.raises(InvalidInputError):
            encoder.encode([history], "query")


@pytest.mark.parametrize("causal", [True, False])
def test_onnx_agrees_with_torch_at_every_length(tmp_path: Path, causal: bool) -> None:
    source = tiny_models.sequence(tmp_path / "tower", causal=causal, normalize=True)
    encoders.export(source, tmp_path / "encoder", name="next")
    histories = [[IDS[(3 * step) % 9] for step in range(length)] for length in range(1, 15)]
    with encoders.load(tmp_path / "encoder") as onnx, encoders.load(source, name="next", runtime="torch") as torch:
        assert onnx.contract == torch.contract
        assert onnx.contract.metric == "COSINE"
        np.testing.assert_allclose(onnx.encode(histories, "query"), torch.encode(histories, "query"), atol=1e-5)
        np.testing.assert_allclose(onnx.encode(IDS), torch.encode(IDS), atol=1e-5)


def test_lengths_fall_into_few_buckets() -> None:
    preprocessing = SequencePreprocessing("0" * 64, 50)
    assert sorted({preprocessing.bucket(length) for length in range(1, 51)}) == [8, 16, 32, 50]
