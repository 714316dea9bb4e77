"""What is made of the columns of a catalogue."""

from __future__ import annotations

import io
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from connector.errors import CatalogueError, ConfigurationError
from connector.scaffold.infer import infer_shape
from connector.scaffold.media import medium_of_bytes


def picture(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(out, "PNG")
    return out.getvalue()


def goods(**more: Any) -> pa.Table:
    columns: dict[str, Any] = {
        "product_id": [f"p{n}" for n in range(8)],
        "name": [f"Thing number {n}" for n in range(8)],
        "description": ["A thing of some length that says what it is. " * 4] * 7 + [None],
        "colour": ["red", "blue"] * 4,
        "price": [float(n) for n in range(8)],
        "stock": [1, 2, 3, 4, 5, 6, 7, None],
        "sold_out": [True, False] * 4,
        "added": [datetime(2024, 1, n + 1, tzinfo=timezone.utc) for n in range(8)],
        "image": [picture()] * 7 + [None],
    }
    return pa.table({**columns, **more})


def test_a_usual_catalogue() -> None:
    shape = infer_shape(goods(), project="p")
    assert (shape.entity, shape.key.name, shape.key.dtype) == ("product", "product_id", "String")
    assert shape.text == ("name", "description")
    assert shape.media == {"image": "image"}
    assert shape.media_spaces() == {"image": "product_image"}
    assert {column.name: column.dtype for column in shape.carried} == {
        "name": "String",
        "colour": "String",
        "price": "Float64",
        "stock": "Int64",
        "sold_out": "Bool",
        "added": "UnixTimestamp",
    }
    assert "description" in {column.name for column in shape.content}


def test_numbers_written_out_as_in_csv(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text(
        "sku,title,price,kids,day,zip,picture\n"
        + "".join(f"s{n},A thing called {n},{n}.5,true,2024-01-0{n},0{n}00{n},img/{n}.JPG\n" for n in range(1, 8))
    )
    shape = infer_shape(file, project="p")
    assert shape.key.name == "sku"
    assert shape.media == {"picture": "image"}
    types = {column.name: column.dtype for column in shape.carried}
    assert types == {"title": "String", "price": "Float64", "kids": "Bool", "day": "UnixTimestamp", "zip": "String"}


def test_the_key_may_be_given_and_may_be_a_number() -> None:
    table = pa.table({"number": [1, 2], "title": ["red dress", "blue shoe"]})
    shape = infer_shape(table, project="p", key="number", entity="good")
    assert (shape.entity, shape.key.name, shape.key.dtype) == ("good", "number", "Int64")


def test_a_doubled_id_is_no_key() -> None:
    table = pa.table({"product_id": ["a", "a"], "photo_id": ["x", "y"], "title": ["red dress", "blue shoe"]})
    assert infer_shape(table, project="p").key.name == "photo_id"


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        (pa.table({"title": ["a b c", "d e f"]}), None, "--key"),
        (pa.table({"title": ["a b c"]}), "titel", "did you mean title"),
        (pa.table({"id": [1.5], "title": ["a b c"]}), "id", "cannot be a key"),
        (pa.table({"id": pa.array([], pa.string())}), None, "no rows"),
    ],
)
def test_no_key(table: pa.Table, key: str | None, message: str) -> None:
    with pytest.raises(CatalogueError, match=message):
        infer_shape(table, project="p", key=key)


def test_nothing_to_encode() -> None:
    with pytest.raises(ConfigurationError, match="no column of text, pictures, sounds or films"):
        infer_shape(pa.table({"item_id": ["a", "b"], "price": [1.0, 2.0]}), project="p")


def test_what_is_left_out_is_said() -> None:
    table = goods(
        event_timestamp=[datetime(2024, 1, 1, tzinfo=timezone.utc)] * 8,
        vector=[[0.1, 0.2]] * 8,
        tags=[["a"]] * 8,
        blob=[b"\x00\x01"] * 8,
        link=["https://example.org/1"] * 8,
        nothing=pa.nulls(8),
    )
    left_out = infer_shape(table, project="p").left_out
    assert set(left_out) == {"event_timestamp", "vector", "tags", "blob", "link", "nothing"}
    assert "vectors=" in left_out["vector"]


def test_hostile_and_clashing_names_become_plain_ones() -> None:
    table = pa.table(
        {
            'item id"]); import os; os.system("x")#_id': ["a", "b"],
            "titel\n'''\"\"\"": ["a red dress", "a blue shoe"],
            "Price (€)": [1.0, 2.0],
            "price": [1.0, 2.0],
            "score": [1.0, 2.0],
            "_hidden": [1, 2],
            "class": [True, False],
            "😀": [1, 2],
        }
    )
    shape = infer_shape(table, project="p", key='item id"]); import os; os.system("x")#_id')
    names = [shape.key.name, shape.entity, *(column.name for column in shape.carried)]
    assert all(name.isidentifier() and name.isascii() for name in names)
    assert len({column.name for column in shape.carried}) == len(shape.carried)
    assert set(shape.renamed.values()) >= {"Price (€)", "score", "_hidden", "class", "😀"}
    assert "score" not in names


def test_text_that_is_not_utf8_is_no_obstacle() -> None:
    raw = pa.array([b"a good \xff title", b"another good title"], pa.binary()).view(pa.string())
    shape = infer_shape(pa.table({"item_id": ["a", "b"], "title": raw}), project="p")
    assert shape.text == ("title",)


def test_several_images_get_a_space_each() -> None:
    shape = infer_shape(goods(back=[picture()] * 8), project="p")
    assert shape.media_spaces() == {"image": "product_image", "back": "product_back"}


def test_sounds_and_films_get_spaces_too() -> None:
    # Half of the cells are enough.
    sounds = [b"garbage"] * 4 + [b"RIFF\x00\x00\x00\x00WAVEfmt "] * 4
    more = {"preview": sounds, "trailer": [f"films/{n}.MP4?v=1" for n in range(8)], "theme": [b"fLaC\x00"] * 8}
    shape = infer_shape(goods(**more), project="p")
    assert shape.media == {"image": "image", "preview": "audio", "trailer": "video", "theme": "audio"}
    assert shape.spaces() == ["product_text", "product_image", "product_audio", "product_video", "product_theme"]
    assert shape.media_spaces("audio") == {"preview": "product_audio", "theme": "product_theme"}
    assert shape.left_out == {}


@pytest.mark.parametrize(
    ("begins", "medium"),
    [
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "video"),
        (b"RIFF\x00\x00\x00\x00rmid", None),
        (b"FORM\x00\x00\x00\x00AIFFCOMM", "audio"),
        (b"\x00\x00\x00\x20ftypisom", "video"),
        (b"\x00\x00\x00\x20ftypM4A ", "audio"),
        (b"\x1aE\xdf\xa3", "video"),
        (b"ID3\x04", "audio"),
        (b"", None),
        (b"%PDF-1.7", None),
    ],
)
def test_what_a_file_is_by_its_beginning(begins: bytes, medium: str | None) -> None:
    assert medium_of_bytes(begins) == medium
