"""Every form of a history or an item means the same to an encoder in process as to one that is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from connector.serving.payloads import prepare
from encoders import Encoder, EncodeResult, InvalidInputError, Runtime, Side, external_contract
from encoders.histories import History, history_bytes, read_history, read_item
from encoders.sequence import SequenceEncoder, SequencePreprocessing
from encoders.triton_model import encode_sides
from encoders.universal import UniversalEncoder, UniversalPreprocessing
from encoders.wire import pack

IDS = ["1", "2", "3", "a", "é"]
CONTENT = np.eye(5, 2, dtype=np.float32) + 1


class Echo(Runtime):
    """Vectors that tell the newest three numbers, and their content vectors."""

    label = "echo"

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        rows = len(inputs["items"])
        items = np.zeros((rows, 3), np.float32)
        items[:, -min(3, inputs["items"].shape[1]) :] = inputs["items"][:, -3:]
        content = np.zeros((rows, 3, 2), np.float32)
        if "content" in inputs:
            content[:, -min(3, inputs["content"].shape[1]) :] = inputs["content"][:, -3:]
        return np.concatenate([items, content.reshape(rows, 6)], axis=1)


@pytest.fixture(scope="module", params=["sequence", "universal"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    contract = external_contract("next", version=1, dimension=9, modality="sequence")
    if request.param == "sequence":
        return SequenceEncoder(contract, SequencePreprocessing("0" * 64, 50), IDS, Echo())
    preprocessing = UniversalPreprocessing("0" * 64, "0" * 64, longest=50, content=2)
    return UniversalEncoder(contract, preprocessing, IDS, CONTENT, Echo())


def served(encoder: Encoder, item: Any, side: Side) -> EncodeResult:
    """What a client gets: its side of the wire, then the server's."""
    payloads = prepare([item], "sequence")
    if payloads.errors:
        return EncodeResult(np.zeros((1, encoder.contract.dimension), np.float32), payloads.errors)
    return encode_sides(encoder, [payloads.items[0]], np.asarray([side == "query"]))


HISTORIES = {
    "texts": ["1", "2", "3"],
    "texts in a tuple": ("1", "2", "3"),
    "an array of texts": np.asarray(["1", "2", "3"]),
    "an array of objects": np.asarray(["1", 2, np.int64(3)], object),
    "bytes": [b"1", b"2", b"3"],
    "whole numbers": [1, 2, 3],
    "whole numbers of numpy": [np.int64(1), np.int32(2), np.uint8(3)],
    "an integer array": np.asarray([1, 2, 3]),
    "an array of bytes": np.asarray([1, 2, 3], np.uint8),
    "texts, bytes and numbers": ["1", b"2", np.int16(3)],
    "a mapping": {"items": ["1", "2", "3"]},
    "a mapping of numbers": {"items": [np.int64(1), 2, "3"]},
    "a mapping of an array": {"items": np.asarray([1, 2, 3], np.uint8)},
    "a mapping of texts in an array": {"items": np.asarray(["1", "2", "3"])},
    "a mapping of JSON": {"items": '["1", "2", 3]'},
    "JSON as text": '["1", 2, "3"]',
    "JSON as bytes": b'["1", 2, "3"]',
    "packed texts": pack({"items": ["1", "2", "3"]}),
    "packed numbers": pack({"items": [1, 2, 3]}),
}


@pytest.mark.parametrize("form", HISTORIES)
def test_a_history_of_ids(encoder: Encoder, form: str) -> None:
    for found in (encoder.encode_tolerant([HISTORIES[form]], "query"), served(encoder, HISTORIES[form], "query")):
        assert not found.errors
        np.testing.assert_array_equal(found.vectors[0, :3], [1, 2, 3])


ITEMS = {
    "text": "a",
    "more text": "é",
    "bytes": b"a",
    "a whole number": 2,
    "a whole number of numpy": np.int64(2),
    "an array without dimensions": np.asarray(2),
}


@pytest.mark.parametrize("side", ["document", "query"])
@pytest.mark.parametrize("form", ITEMS)
def test_one_id(encoder: Encoder, form: str, side: Side) -> None:
    here, there = encoder.encode_tolerant([ITEMS[form]], side), served(encoder, ITEMS[form], side)
    assert not here.errors
    assert not there.errors
    np.testing.assert_array_equal(here.vectors, there.vectors)
    assert here.vectors[0, 2] == {"a": 4, "é": 5}.get(str(ITEMS[form]), 4 if form == "bytes" else 2)


VECTORS = {
    "nested fractions": [[3.0, 4.0], [0.5, 0.0]],
    "nested whole numbers": [[3, 4], [1, 0]],
    "nested whole numbers of numpy": [[np.int64(3), 4], (1, 0)],
    "arrays": [np.asarray([3.0, 4.0]), np.asarray([1, 0])],
    "an array": np.asarray([[3.0, 4.0], [1.0, 0.0]]),
    "an integer array": np.asarray([[3, 4], [1, 0]]),
    "a mapping": {"vectors": [[3, 4], [1, 0]]},
    "packed": pack({"vectors": np.asarray([[3, 4], [1, 0]], np.float32)}),
}
ONE = {"fractions": [3.0, 4.0], "mixed": [3, 4.0], "array": np.asarray([3.0, 4.0]), "mapping": {"vectors": [3, 4]}}


@pytest.mark.parametrize("form", VECTORS)
def test_a_history_of_content(encoder: Encoder, form: str) -> None:
    for found in (encoder.encode_tolerant([VECTORS[form]], "query"), served(encoder, VECTORS[form], "query")):
        if isinstance(encoder, SequenceEncoder):
            assert found.errors == {0: "this encoder takes item ids, not content vectors"}
        else:
            assert not found.errors
            np.testing.assert_allclose(found.vectors[0, 5:], [0.6, 0.8, 1, 0])


@pytest.mark.parametrize("side", ["document", "query"])
@pytest.mark.parametrize("form", ONE)
def test_one_content_vector(encoder: Encoder, form: str, side: Side) -> None:
    for found in (encoder.encode_tolerant([ONE[form]], side), served(encoder, ONE[form], side)):
        if isinstance(encoder, SequenceEncoder):
            assert found.errors == {0: "this encoder takes item ids, not content vectors"}
        else:
            assert not found.errors
            np.testing.assert_allclose(found.vectors[0, 7:], [0.6, 0.8])


@pytest.mark.parametrize("side", ["document", "query"])
@pytest.mark.parametrize(
    "form",
    [None, 3.5, np.float32(1), True, np.bool_(True), [], (), np.zeros(0), np.zeros((0, 2)), {}, {"items": None}, "",
     {"items": []}, {"items": [[1, 2]]}, {"items": [1.5]}, {"vectors": "a"}, {"vectors": [[True, False]]}, [None],
     [True], [1, None], ["1", 2.5], [[1, 2], [3]], [["1", "2"]], [[1.0, 2.0], "1"], object(), {1, 2}, b"[1", b"\xff",
     np.asarray([True]), np.asarray([1 + 2j])],
    ids=repr,
)  # fmt: skip
def test_what_is_neither(encoder: Encoder, form: Any, side: Side) -> None:
    here, there = encoder.encode_tolerant([form], side), served(encoder, form, side)
    assert list(here.errors) == [0]
    assert list(there.errors) == [0]
    assert "\n" not in here.errors[0] + there.errors[0]


SCALARS = st.one_of(
    st.text(max_size=3),
    st.binary(max_size=3),
    st.integers(-(2**70), 2**70),
    st.integers(0, 200).map(np.uint8),
    st.integers(-9, 9).map(np.int64),
    st.floats(width=32),
    st.booleans(),
    st.none(),
)
FORMS = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=4),
    st.lists(st.lists(st.one_of(st.integers(0, 9), st.floats(width=32)), max_size=3), max_size=3),
    st.dictionaries(st.sampled_from(["items", "vectors", "times"]), st.lists(SCALARS, max_size=3)),
)


@settings(max_examples=300, deadline=None)
@given(FORMS)
def test_any_form_is_read_alike_on_both_sides(form: Any) -> None:
    def read(value: Any, reader: Any) -> Any:
        try:
            found = reader(value)
        except InvalidInputError:
            return None
        if isinstance(found, History):
            # On the wire an empty history is an error at once, in process it is one of the encoder.
            vectors = None if found.vectors is None else found.vectors.astype(np.float32).tolist()
            return (found.ids, repr(vectors)) if found.ids or vectors is not None else None
        return found if isinstance(found, str) else repr(found.tolist())

    try:
        sent = history_bytes(form)
    except InvalidInputError:
        sent = None
    for reader in (read_history, read_item):
        here = read(form, reader)
        there = None if sent is None else read(sent, reader)
        assert here == there or not _travels(form)


def _travels(form: Any) -> bool:
    """Whether it is text that UTF-8 can say."""
    return not (isinstance(form, str) and any("\ud800" <= character <= "\udfff" for character in form))
