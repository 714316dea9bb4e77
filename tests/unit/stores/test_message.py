"""The message of a write: what pymilvus makes of the same rows, given one dict a row."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from pymilvus import MilvusClient
from pymilvus.client.prepare import Prepare

from connector.spaces import EVENT_TIMESTAMP
from connector.stores.base import CollectionSpec, ScalarField
from connector.stores.columns import Columns, read_columns
from connector.stores.layout import (
    CREATED,
    EVENT,
    KEY,
    NO_CREATED,
    NO_VECTOR,
    WORDS,
    milvus_schema,
    null_marks,
)
from connector.stores.message import _varint, upsert_request
from connector.testing.rows import mixed_rows, shop_rows, shop_spec

DEFAULTS = {"string": "", "float64": 0.0, "int64": 0, "bool": False, "timestamp": 0, "opaque": b""}


def by_pymilvus(spec: CollectionSpec, rows: list[dict[str, Any]]) -> Any:
    fields = milvus_schema(MilvusClient, spec).to_dict()["fields"]
    return Prepare.row_upsert_param(spec.name, rows, "", fields)


def columns_of(request: Any) -> dict[str, Any]:
    return {field.field_name: MessageToDict(field) for field in request.fields_data}


def as_dicts(spec: CollectionSpec, columns: Columns) -> list[dict[str, Any]]:
    """What a user of `MilvusClient.upsert` would write for these rows."""
    rows = []
    for place in range(len(columns.keys)):
        row: dict[str, Any] = {KEY: columns.keys[place], EVENT: int(columns.event[place]), CREATED: NO_CREATED}
        row["embedding" if spec.vector else NO_VECTOR] = columns.vectors[place].tolist()
        for field in spec.fields:
            scalar = columns.scalars[field.name][place]
            mark = null_marks(spec)[field.name]
            row[mark.column] = row.get(mark.column, 0) + (0 if scalar.is_valid else mark.bit)
            value = scalar.value if field.type == "timestamp" and scalar.is_valid else scalar.as_py()
            value = DEFAULTS[field.type] if value is None else value
            row[field.name] = base64.b64encode(value).decode() if field.type == "opaque" else value
        if spec.keyword_fields:
            texts = [columns.scalars[name][place].as_py() for name in spec.keyword_fields]
            row[WORDS] = "\n".join(text for text in texts if text is not None)
        rows.append(row)
    return rows


@pytest.mark.parametrize("keyword_fields", [(), ("title",)], ids=["plain", "keywords"])
def test_it_is_the_one_that_pymilvus_makes(keyword_fields: tuple[str, ...]) -> None:
    spec = replace(shop_spec("shop__v1"), keyword_fields=keyword_fields)
    columns = read_columns(spec, mixed_rows())
    assert not columns.problems
    ours = upsert_request(spec.name, spec, columns, np.arange(120))
    theirs = by_pymilvus(spec, as_dicts(spec, columns))
    assert columns_of(ours) == columns_of(theirs)
    assert (ours.num_rows, ours.collection_name) == (theirs.num_rows, theirs.collection_name)


def test_chosen_rows_alone_are_in_it_in_their_order() -> None:
    spec = shop_spec("shop__v1")
    columns = read_columns(spec, mixed_rows())
    chosen = np.array([7, 3, 99])
    ours = upsert_request(spec.name, spec, columns, chosen)
    rows = as_dicts(spec, columns)
    assert columns_of(ours) == columns_of(by_pymilvus(spec, [rows[place] for place in chosen]))


def test_several_keys_have_columns_of_their_own() -> None:
    spec = replace(
        shop_spec("shop__v1", fields=[]), keys=(ScalarField("item_id", "string"), ScalarField("size", "int64"))
    )
    rows = shop_rows(["a", "b"]).select(["item_id", "embedding", EVENT_TIMESTAMP])
    columns = read_columns(spec, rows.append_column("size", [[38, 40]]))
    found = columns_of(upsert_request(spec.name, spec, columns, np.arange(2)))
    assert found["size"]["scalars"]["longData"]["data"] == ["38", "40"]
    assert found["item_id"]["scalars"]["stringData"]["data"] == ["a", "b"]


def test_a_collection_without_a_vector_has_the_small_one_that_milvus_asks_for() -> None:
    spec = replace(shop_spec("shop__v1"), vector=None)
    columns = read_columns(spec, mixed_rows().drop_columns(["embedding"]))
    ours = upsert_request(spec.name, spec, columns, np.arange(120))
    assert columns_of(ours) == columns_of(by_pymilvus(spec, as_dicts(spec, columns)))


@pytest.mark.parametrize(
    ("number", "written"), [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (3145728, "8080c001")]
)
def test_numbers_of_variable_length(number: int, written: str) -> None:
    assert _varint(number).hex() == written
