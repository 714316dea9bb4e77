from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from encoders import InvalidInputError
from encoders.wire import joined_checks, pack, pack_text, parts_of, row_checks, to_bytes, unpack, unpack_text

PARTS = {
    "image": b"\xff\xd8 a picture",
    "text": "rotes Kleid, größer",
    "ids": ["a", "b"],
    "vector": np.arange(6, dtype=np.float32).reshape(2, 3),
    "times": [3, 2, 1],
    "absent": None,
}


def test_parts_come_back() -> None:
    found = unpack(pack(PARTS))
    assert sorted(found) == ["ids", "image", "text", "times", "vector"]
    assert found["image"].tobytes() == PARTS["image"]
    assert found["text"].tobytes().decode() == PARTS["text"]
    assert json.loads(found["ids"].tobytes()) == ["a", "b"]
    np.testing.assert_array_equal(found["vector"], PARTS["vector"])
    assert found["times"].tolist() == [3, 2, 1]


def test_it_is_safetensors() -> None:
    found = load(pack({"a": np.ones((2, 2), np.float32), "b": b"xyz"}))
    np.testing.assert_array_equal(found["a"], np.ones((2, 2)))
    assert unpack(save({"x": np.arange(4), "y": np.zeros((0, 3), np.float32)}))["y"].shape == (0, 3)


def test_nothing_packed_is_nothing() -> None:
    assert unpack(pack({})) == {}
    assert parts_of({"a": None}) == {}


@pytest.mark.parametrize(
    "value", [3, "text", ["a"], {1: b"a"}, {"__metadata__": b"a"}, {"a": object()}, {"a": [[1], [1, 2]]},
              {"a": "\ud800"}, {"a": np.zeros(2, np.complex64)}, {f"n{i}": b"" for i in range(300)},
              {"n" * 70_000: b""}],
    ids=lambda value: str(value)[:12],
)  # fmt: skip
def test_what_cannot_travel_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError):
        pack(value)


@given(st.lists(st.tuples(st.binary(max_size=20), st.booleans()), max_size=8))
def test_a_check_tells_rows_and_sides_apart(rows: list[tuple[bytes, bool]]) -> None:
    contents, sides = [row for row, _ in rows], np.array([side for _, side in rows], bool)
    checks = row_checks(contents, sides)
    assert (checks.dtype, checks.shape) == (np.uint32, (len(rows),))
    assert len(set(checks.tolist())) == len(set(rows))
    again = joined_checks([checks, row_checks([b""] * len(rows))])
    assert len(set(again.tolist())) == len(set(rows))
    np.testing.assert_array_equal(joined_checks([checks]), checks)


def test_a_check_is_the_crc_32_that_others_compute() -> None:
    assert row_checks([b"123456789"]).tolist() == [0xCBF43926]


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=20).filter(lambda name: name != "__metadata__"), st.binary())
def test_one_part_is_packed_as_every_other_is(name: str, content: bytes) -> None:
    packed = pack_text(name, content)
    assert packed == pack({name: content})
    assert unpack_text(name, packed) == content
    assert unpack_text(name + "s", packed) is None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_is_not_one_part_byte_for_byte_is_left_to_the_reader_of_all(data: st.DataObject) -> None:
    packed = bytearray(pack_text("items", b'["a", "b"]'))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 11))] ^= data.draw(st.integers(1, 255))
    content = bytes(packed[data.draw(st.integers(0, 3)) :])
    assert unpack_text("items", content) in (None, b'["a", "b"]')
    if unpack_text("items", content) is not None:
        assert unpack(content)["items"].tobytes() == b'["a", "b"]'
    assert unpack_text("items", pack({"items": b"[]", "times": [1]})) is None
    assert unpack_text("items", b"") is None


@pytest.mark.parametrize("item", [None, 3, "text", [b"a"]])
def test_rows_are_mappings_or_bytes(item: Any) -> None:
    for read in (to_bytes, parts_of):
        with pytest.raises(InvalidInputError):
            read(item)


def framed(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        struct.pack("<Q", 2**63) + b"{}",
        framed(b"[]"),
        framed(b"{"),
        framed(b"[" * 50_000),
        framed({"a": 3}),
        framed({"a": {}}),
        framed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, b"\0" * 4),
        framed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"\0" * 4),
        framed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"\0" * 4),
        framed({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4),
        framed({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, b"\0" * 4),
        framed({"a": {"dtype": "F32", "shape": [0, 2**70], "data_offsets": [0, 0]}}),
        framed({"a": {"dtype": "F32", "shape": [0, 2**40, 2**40], "data_offsets": [0, 0]}}),
        framed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 3),
        framed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 8),
        framed({"a": {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]}}, b"\0" * 4),
        framed({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"\0" * 4),
        framed({"a": {"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        framed({"a": {"dtype": "U8", "shape": [1] * 9, "data_offsets": [0, 1]}}, b"\0"),
        framed({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
                "b": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}}, b"\0" * 3),
    ],
    ids=lambda content: repr(content[:10]),
)  # fmt: skip
def test_headers_that_lie_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        unpack(content)
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_rows_raise_nothing_else(data: st.DataObject) -> None:
    content = bytearray(pack(PARTS))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)))):
        content[place] = value
    reason = ""
    try:
        unpack(bytes(content[: data.draw(st.integers(0, len(content)))]))
    except InvalidInputError as error:
        reason = error.reason
    assert "\n" not in reason
