"""Feast views → collection specs, and the stamp that carries them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp

from connector.errors import ConfigurationError
from connector.spaces import embedding_view, space_of
from connector.stores import ScalarField, ScalarType, collection_spec, collection_spec_of_view
from connector.stores.layout import NULLS_IN_COLUMN, column_name, null_marks
from connector.stores.specs import spec_from_json, spec_to_json
from connector.testing.rows import shop_spec
from encoders.contract import external_contract

ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
CONTRACT = external_contract("ext", version=3, dimension=4, modality="image", metric="IP")


def _view(*fields: Field, entities: list[Entity] | None = None) -> FeatureView:
    source = FileSource(name="file", path="a.parquet", timestamp_field="event_timestamp")
    if entities is None:
        key = Field(name="item_id", dtype=String)
        return FeatureView(name="stats", entities=[ITEM], schema=[key, *fields], source=source)
    return FeatureView(name="stats", entities=entities, schema=list(fields), source=source)


def test_a_space_and_its_view_have_one_spec() -> None:
    fields = [Field(name="price", dtype=Float32), Field(name="tags", dtype=Array(String))]
    view = embedding_view("item_image", entity=ITEM, contract=CONTRACT, inputs="image", fields=fields)
    spec = collection_spec_of_view(view)
    assert spec == collection_spec(space_of(view))
    assert spec.name == "item_image__v3"
    assert spec.keys == (ScalarField("item_id", "string"),)
    assert spec.fields == (ScalarField("price", "float64"), ScalarField("tags", "opaque"))
    assert spec.contract_hash == CONTRACT.hash
    assert spec.vector is not None
    assert (spec.vector.name, spec.vector.dimension, spec.vector.metric) == ("item_image_embedding", 4, "IP")
    assert spec.vector.index["index_type"] == "HNSW"


def test_plain_views() -> None:
    types = {"a": Bool, "b": Int32, "c": Int64, "d": Float64, "e": UnixTimestamp, "f": Bytes}
    spec = collection_spec_of_view(_view(*(Field(name=name, dtype=kind) for name, kind in types.items())))
    assert spec.name == "stats__v1"
    assert [field.type for field in spec.fields] == ["bool", "int64", "int64", "float64", "timestamp", "opaque"]
    assert spec.vector is None
    assert spec.contract_hash == ""


def test_views_without_entities() -> None:
    assert [key.type for key in collection_spec_of_view(_view(Field(name="a", dtype=Bool), entities=[])).keys] == [
        "string"
    ]


@pytest.mark.parametrize(("metric", "expected"), [("cosine", "COSINE"), ("inner_product", "IP"), ("l2", "L2")])
def test_metrics_as_feast_users_write_them(metric: str, expected: str) -> None:
    vector = Field(name="v", dtype=Array(Float32), vector_index=True, vector_length=4, vector_search_metric=metric)
    spec = collection_spec_of_view(_view(vector))
    assert spec.vector is not None
    assert spec.vector.metric == expected


def test_what_cannot_be_a_collection() -> None:
    vector = Field(name="v", dtype=Array(Float32), vector_index=True, vector_length=4, vector_search_metric="HAMMING")
    with pytest.raises(ConfigurationError, match="HAMMING"):
        collection_spec_of_view(_view(vector))
    with pytest.raises(ConfigurationError, match="vector_length"):
        collection_spec_of_view(_view(Field(name="v", dtype=Array(Float32), vector_index=True)))
    moment = Entity(name="moment", join_keys=["at"], value_type=ValueType.UNIX_TIMESTAMP)
    with pytest.raises(ConfigurationError, match="join key at"):
        collection_spec_of_view(_view(Field(name="at", dtype=UnixTimestamp), entities=[moment]))
    with pytest.raises(ConfigurationError, match="apply it first"):
        collection_spec_of_view(_view(Field(name="a", dtype=Bool), entities=[ITEM]))


def test_the_stamp_is_read_back() -> None:
    spec = shop_spec("items__v1")
    for each in (spec, replace(spec, vector=None, contract_hash="")):
        assert spec_from_json(spec_to_json(each)) == each
    for text in (
        "",
        "{}",
        "[]",
        "null",
        '{"format": 2}',
        spec_to_json(spec).replace('"format":2', '"format":1'),
        spec_to_json(spec).replace('"name"', '"nom"'),
    ):
        assert spec_from_json(text) is None


def test_columns_never_meet() -> None:
    names = ["a", "like", "LIKE", "_x_6c696b65", "avg-price", "_key", "_has_a", "has_a", "größe", "a" * 300]
    columns = [column_name(name) for name in names]
    assert len(set(columns)) == len(columns)
    assert column_name("a") == "a"


def test_nulls_share_columns_of_a_few_masks() -> None:
    names = [f"f{number}" for number in range(NULLS_IN_COLUMN + 2)]
    spec = replace(shop_spec("items__v1"), fields=tuple(ScalarField(name, "int64") for name in names))
    marks = null_marks(spec)
    assert len({(mark.column, mark.bit) for mark in marks.values()}) == len(names)
    first, last = marks["f0"].column, marks[names[-1]].column
    assert (first[-2:], last[-2:], first[:-2]) == ("_0", "_1", last[:-2])
    assert marks[names[-1]].condition(True) == f"{last} >= 2"
    assert marks[names[-1]].condition(False) == f"{last} < 2"


@pytest.mark.parametrize(
    "fields",
    [(("f1", "int64"), ("f0", "int64")), (("f0", "int64"),), (("f0", "int64"), ("f1", "string"))],
    ids=["order", "fewer", "type"],
)
def test_other_fields_have_their_nulls_in_other_columns(fields: tuple[tuple[str, ScalarType], ...]) -> None:
    """Whoever knows an alias's earlier collection is refused, and does not take one field's bit for another's."""
    before = replace(shop_spec("items__v1"), fields=tuple(ScalarField(name, "int64") for name in ("f0", "f1")))
    after = replace(before, fields=tuple(ScalarField(*field) for field in fields))
    assert null_marks(before)["f0"].column != null_marks(after)["f0"].column


@pytest.mark.parametrize("shared", range(1, 7))
def test_the_condition_of_a_null_selects_the_masks_with_its_bit(shared: int) -> None:
    fields = tuple(ScalarField(f"f{number}", "int64") for number in range(shared))
    marks = null_marks(replace(shop_spec("items__v1"), fields=fields))
    for number in range(shared):
        mark = marks[f"f{number}"]
        for null in (True, False):
            found = [mask for mask in range(1 << shared) if eval(mark.condition(null), {mark.column: mask})]  # noqa: S307 - ours
            assert found == [mask for mask in range(1 << shared) if bool(mask >> number & 1) == null]
