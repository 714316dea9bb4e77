from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.serving import payloads
from connector.serving.payloads import batches, prepare


@pytest.mark.parametrize(
    ("item", "modality", "expected"),
    [
        ("é", "text", "é".encode()),
        (b"\xff", "text", b"\xff"),
        ("", "text", b""),
        (bytearray(b"ab"), "image", b"ab"),
        (memoryview(b"ab"), "image", b"ab"),
    ],
)
def test_what_is_sent(item: Any, modality: str, expected: bytes) -> None:
    assert prepare([item], modality).items == {0: expected}


@pytest.mark.parametrize(
    ("item", "modality", "reason"),
    [
        (None, "text", "text is null"),
        (3, "text", "got int"),
        (["a"], "text", "got list"),
        ("photo.jpg", "image", "expected the bytes of a file, got str"),
        ("\ud800", "text", "not valid Unicode"),
    ],
)
def test_what_is_never_sent(item: Any, modality: str, reason: str) -> None:
    prepared = prepare(["a" if modality == "text" else b"a", item], modality)
    assert list(prepared.items) == [0]
    assert reason in prepared.errors[1]


def test_an_enormous_input_is_an_error_of_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "MAX_ITEM_BYTES", 3)
    prepared = prepare(["abcd", "abc"], "text")
    assert list(prepared.items) == [1]
    assert "over the limit of 3" in prepared.errors[0]


def test_a_large_input_travels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "MAX_REQUEST_BYTES", 10)
    prepared = prepare([b"12345", b"x" * 50, b"12345", b"12345", b"1"], "image")
    assert batches(prepared, 64, by_length=False) == [[0], [1], [2, 3], [4]]


def test_texts_of_like_length_go_together() -> None:
    prepared = prepare(["aaaa", "a", "aaa", "aa"], "text")
    assert batches(prepared, 2, by_length=True) == [[0, 2], [3, 1]]


@given(st.lists(st.text(max_size=30) | st.none(), max_size=60), st.integers(1, 9), st.booleans())
def test_every_sound_input_is_sent_once(items: list[str | None], size: int, by_length: bool) -> None:
    prepared = prepare(items, "text")
    cut = batches(prepared, size, by_length=by_length)
    assert sorted(position for request in cut for position in request) == sorted(prepared.items)
    assert all(0 < len(request) <= size for request in cut)
    assert set(prepared.items) | set(prepared.errors) == set(range(len(items)))
