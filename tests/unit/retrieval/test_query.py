"""The query model refuses what makes no sense, naming the argument."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.errors import QueryError
from connector.retrieval.query import MAX_K, build_query


def test_a_name_is_one_space_of_weight_one() -> None:
    query = build_query("item_text", text="red")
    assert query.weights == {"item_text": 1.0}
    assert query.raw == {"text": "red"}


def test_spaces_of_weight_zero_are_left_out() -> None:
    assert build_query({"a": 0, "b": 2}, text="x").weights == {"b": 2.0}
    assert build_query(["a", "b"], text="x").weights == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "none was given"),
        ({"text": "x", "vector": [1.0]}, "text, vector"),
        ({"item_id": "i1", "vector": [1.0]}, "vector, item_id"),
        ({"text": "  "}, "empty"),
        ({"text": 7}, "string"),
        ({"text": "\ud800"}, "Unicode"),
        ({"text": "x" * 300_000}, "max_text_bytes"),
        ({"text": "x", "k": 0}, "k must be"),
        ({"text": "x", "k": MAX_K + 1}, "k must be"),
        ({"text": "x", "k": True}, "k must be"),
        ({"text": "x", "k": 2.5}, "k must be"),
        ({"text": "x", "fusion": "best"}, "fusion must be"),
        ({"image": "no/such/file.jpg"}, "No such file"),
        ({"image": b""}, "empty"),
        ({"image": 3}, "bytes of a file or a path"),
        ({"image": "a\0b"}, "cannot be read"),
        ({"audio": b""}, "audio is empty"),
        ({"video": "no/such/film.mp4"}, "video 'no/such/film.mp4' cannot be read: No such file"),
        ({"audio": [1, 2]}, "audio must be the bytes of a file or a path"),
        ({"audio": b"wave", "item_id": "a"}, "given together: audio, item_id"),
        ({"vector": [[1.0], [2.0]]}, "flat"),
        ({"vector": []}, "flat"),
        ({"vector": ["a"]}, "numbers"),
        ({"vector": [1.0, float("nan")]}, "NaN"),
        ({"item_id": 1.5}, "item_id"),
        ({"item_id": True}, "item_id"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        build_query("item_text", **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weights", [{}, {"a": 0}, {"a": -1.0}, {"a": float("nan")}, {"a": float("inf")}, {"a": "1"}])
def test_bad_weights(weights: dict[str, Any]) -> None:
    with pytest.raises(QueryError, match="weight"):
        build_query(weights, text="x")


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_media_may_be_a_path(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "media"
    file.write_bytes(b"jpeg")
    for content in (file, str(file), b"jpeg"):
        assert build_query("a", **{kind: content}).raw == {kind: b"jpeg"}  # type: ignore[arg-type]
        with pytest.raises(QueryError, match=f"{kind} .*max_media_bytes"):
            build_query("a", **{kind: content}, max_media_bytes=3)  # type: ignore[arg-type]


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="cannot be read"):
        build_query("a", image=tmp_path)


def test_vectors_of_any_kind_become_float32() -> None:
    vector = build_query("a", vector=np.ones((1, 4), dtype=np.float64)).vector
    assert vector is not None
    assert vector.dtype == np.float32
    assert vector.shape == (4,)
