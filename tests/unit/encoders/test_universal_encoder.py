from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import encoders
from connector.testing import EncoderSuite
from encoders import Encoder
from encoders.content_table import read_content_table
from encoders.errors import EncoderLoadError, InvalidInputError
from encoders.files import read_json
from encoders.histories import history_bytes
from encoders.universal import UniversalPreprocessing
from encoders.wire import pack
from tests.unit.encoders import tiny_models

IDS = [f"i{item}" for item in range(9)]
COLD = [0.5, -1.0, 2.0, 0.25]


@pytest.fixture(scope="class")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tiny_models.universal(tmp_path_factory.mktemp("universal") / "tower")
    target = source.parent / "encoder"
    encoders.export(source, target, name="ways")
    return target


def content_of(folder: Path) -> np.ndarray:
    preprocessing = read_json(folder / "encoder.json")["preprocessing"]
    return read_content_table(folder / "content.safetensors", preprocessing["content_sha256"])


class TestUniversalEncoder(EncoderSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, folder: Path) -> Iterator[Encoder]:
        with encoders.load(folder) as encoder:
            yield encoder

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> list[Any]:
        return ["i3", b"i0", "i8", COLD, np.asarray(COLD[::-1]), pack({"vectors": np.ones(4, np.float32)})]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls) -> list[Any]:
        return [None, "", "unheard of", b"\xff", 3.5, True, [0.0] * 4, [1.0, float("nan"), 0.0, 0.0], [1.0] * 5]

    def test_the_query_side_lies_in_the_same_space(self, encoder: Encoder, valid_inputs: Any, vectors: Any) -> None:
        """A history of one item asks for what comes next, which need not be that item."""
        queries = encoder.encode(valid_inputs, "query")
        assert queries.shape == vectors.shape
        np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
        assert not np.allclose(queries, vectors, atol=1e-2)

    def test_an_item_is_the_same_by_id_and_by_content(self, encoder: Encoder, folder: Path) -> None:
        content = content_of(folder)
        np.testing.assert_allclose(encoder.encode(IDS), encoder.encode(list(3 * content)), atol=1e-6)
        by_id = encoder.encode([["i1", "i4", "i2"]], "query")
        by_content = encoder.encode([content[[1, 4, 2]], content[[1, 4, 2]].tolist()], "query")
        np.testing.assert_allclose(by_content, np.tile(by_id, (2, 1)), atol=1e-6)

    def test_a_history_is_the_same_in_every_form(self, encoder: Encoder) -> None:
        names = ["i1", "gone", "i2", "i3"]
        forms = [names, tuple(names), {"items": names}, b'["i1","gone","i2","i3"]', pack({"items": names})]
        vectors = encoder.encode(forms, "query")
        np.testing.assert_allclose(vectors, np.tile(vectors[:1], (len(forms), 1)), atol=1e-6)
        rows = [COLD, COLD[::-1]]
        forms = [rows, np.asarray(rows), {"vectors": rows}, pack({"vectors": np.asarray(rows)}), history_bytes(rows)]
        vectors = encoder.encode(forms, "query")
        np.testing.assert_allclose(vectors, np.tile(vectors[:1], (len(forms), 1)), atol=1e-6)
        assert not np.allclose(encoder.encode([rows[::-1]], "query"), vectors[:1], atol=1e-3)

    def test_only_the_newest_items_count(self, encoder: Encoder) -> None:
        recent = [IDS[item % 9] for item in range(12)]
        vectors = encoder.encode([recent, ["i7"] * 500 + recent], "query")
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)

    @pytest.mark.parametrize(
        ("history", "reason"),
        [
            ([], "the history is empty"),
            (["gone", "lost"], "none of the history's 2 items"),
            ([[1.0, 2.0]], r"have 4 numbers each, got shape \[1, 2\]"),
            ([[1.0] * 4, [1.0] * 3], "not all of one length"),
            (np.zeros((2, 4)), "is of zeros"),
            (np.zeros((0, 4)), r"got shape \[0, 4\]"),
            ({"vectors": [["a"] * 4]}, "not numbers"),
            (np.ones((100_001, 4)), "over the limit"),
            (7, "none of the history's 1 items"),
            (7.5, "expected a list of item ids, got float"),
        ],
    )
    def test_a_history_that_is_none(self, encoder: Encoder, history: Any, reason: str) -> None:
        result = encoder.encode_tolerant([["i1"], history], "query")
        assert list(result.errors) == [1]
        with pytest.raises(InvalidInputError, match=reason):
            encoder.encode([history], "query")

    def test_an_item_is_one_vector(self, encoder: Encoder) -> None:
        with pytest.raises(InvalidInputError, match="one content vector, got 2"):
            encoder.encode([[COLD, COLD]])


@pytest.mark.parametrize("ids", [True, False])
def test_onnx_agrees_with_torch_at_every_length(tmp_path: Path, ids: bool) -> None:
    source = tiny_models.universal(tmp_path / "tower", ids=ids)
    encoders.export(source, tmp_path / "encoder", name="ways")
    histories = [[IDS[(3 * step) % 9] for step in range(length)] for length in range(1, 15)]
    with encoders.load(tmp_path / "encoder") as onnx, encoders.load(source, name="ways", runtime="torch") as torch:
        assert onnx.contract == torch.contract
        np.testing.assert_allclose(onnx.encode(histories, "query"), torch.encode(histories, "query"), atol=1e-5)
        np.testing.assert_allclose(onnx.encode([*IDS, COLD]), torch.encode([*IDS, COLD]), atol=1e-5)
        content = content_of(tmp_path / "encoder")
        alike = np.allclose(onnx.encode(IDS), onnx.encode(list(content)), atol=1e-3)
        assert alike is not ids


def test_a_table_of_another_encoder(folder: Path) -> None:
    with pytest.raises(EncoderLoadError, match="is missing or was changed"):
        read_content_table(folder / "content.safetensors", "0" * 64)
    record = read_json(folder / "encoder.json")
    for key, value, reason in (("longest", 0, "a size below 1"), ("content", None, "lacks items_sha256")):
        with pytest.raises(EncoderLoadError, match=reason):
            UniversalPreprocessing.from_dict({**record["preprocessing"], key: value})
