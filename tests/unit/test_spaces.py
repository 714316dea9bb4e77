"""Embedding spaces: declared as Feast views, and read back the same from what the registry stores."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Float32, Float64, String

from connector.errors import ConfigurationError, ContractMismatchError, UnknownSpaceError
from connector.spaces import (
    FieldSpec,
    content_view,
    embedding_view,
    is_content_view,
    log_folder,
    read_spaces,
    space_of,
)
from encoders.contract import EncoderContract, external_contract

TEXT = external_contract("text", version=1, dimension=8, modality="text")


def encoder(name: str, version: int = 1, **more: Any) -> EncoderContract:
    return EncoderContract(
        **{
            "name": name,
            "version": version,
            "modality": "text",
            "dimension": 8,
            "metric": "COSINE",
            "pooling": "mean",
            "normalized": True,
            "max_input": 16,
            "weights_hash": name,
            "preprocessing_hash": "p",
            **more,
        }
    )


@pytest.fixture
def item() -> Entity:
    return Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def stored(view: FeatureView) -> FeatureView:
    """The view as the registry gives it back."""
    return FeatureView.from_proto(view.to_proto())


def test_a_space_reads_back_as_declared(item: Entity) -> None:
    words = encoder("words")
    pictures = encoder("pictures", 3, modality="image", dimension=8, aligned_with=(words.hash,))
    view = embedding_view(
        "item_image",
        entity=item,
        contract=pictures,
        inputs="image",
        queries=[words],
        fields=[Field(name="price", dtype=Float64), Field(name="kind", dtype=String)],
        index={"index_type": "FLAT"},
        tags={"team": "search"},
    )
    space = space_of(stored(view))
    assert space == space_of(view)
    assert (space.name, space.entity, space.version, space.collection) == ("item_image", "item", 3, "item_image__v3")
    assert space.join_key == FieldSpec("item_id", "String")
    assert space.contract == pictures
    assert space.queries == (pictures, words)
    assert (space.inputs, space.input_kind) == (("image",), "raw")
    assert space.fields == (FieldSpec("price", "Float64"), FieldSpec("kind", "String"))
    assert (space.log_path, space.index) == ("data/item_image__v3", {"index_type": "FLAT"})
    assert view.tags["team"] == "search"
    vector = next(field for field in stored(view).features if field.vector_index)
    assert (vector.name, vector.vector_length, vector.vector_search_metric) == (space.vector_field, 8, "COSINE")


def test_ready_vectors(item: Entity) -> None:
    space = space_of(embedding_view("item_theirs", entity=item, contract=TEXT, vectors="embedding"))
    assert (space.inputs, space.input_kind) == (("embedding",), "vector")


def test_an_integer_key() -> None:
    user = Entity(name="user", join_keys=["user_no"], value_type=ValueType.INT64)
    space = space_of(stored(embedding_view("user_text", entity=user, contract=TEXT, inputs="about")))
    assert space.join_key == FieldSpec("user_no", "Int64")


@pytest.mark.parametrize("more", [{}, {"inputs": "title", "vectors": "v"}])
def test_inputs_or_vectors(item: Entity, more: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"either inputs= .* or vectors="):
        embedding_view("item_text", entity=item, contract=TEXT, **more)


@pytest.mark.parametrize("name", ["item_id", "event_timestamp", "item_text_embedding", "_x", "score", "rank"])
def test_reserved_field_names(item: Entity, name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        embedding_view("item_text", entity=item, contract=TEXT, inputs="title", fields=[Field(name=name, dtype=String)])


def test_a_query_contract_of_another_space_is_refused(item: Entity) -> None:
    one, other = encoder("one"), encoder("other")
    with pytest.raises(ContractMismatchError, match=r"one/1 .* other/1"):
        embedding_view("item_text", entity=item, contract=one, inputs="title", queries=[other])


def test_only_embedding_views_are_spaces(item: Entity) -> None:
    content = content_view("item_content", entity=item, fields=[Field(name="title", dtype=String)])
    plain = FeatureView(
        name="plain", entities=[item], schema=[Field(name="x", dtype=Float32)], source=FileSource(path="x.parquet")
    )
    space = embedding_view("item_text", entity=item, contract=TEXT, inputs="title")
    assert set(read_spaces([content, plain, space])) == {"item_text"}
    assert is_content_view(stored(content))
    assert not is_content_view(plain)
    assert log_folder(stored(content)) == "data/item_content"
    with pytest.raises(UnknownSpaceError, match="item_content"):
        space_of(content)


@pytest.mark.parametrize("tag", ["connector/contract", "connector/queries", "connector/inputs", "connector/index"])
@pytest.mark.parametrize("value", [None, "{", "[1]", "7"])
def test_tags_that_cannot_be_read_name_the_view(item: Entity, tag: str, value: str | None) -> None:
    view = embedding_view("item_text", entity=item, contract=TEXT, inputs="title", ttl=timedelta(days=1))
    if value is None:
        del view.tags[tag]
    else:
        view.tags[tag] = value
    with pytest.raises(ConfigurationError, match="item_text"):
        space_of(view)


def test_a_view_tagged_by_hand_without_a_vector(item: Entity) -> None:
    view = embedding_view("item_text", entity=item, contract=TEXT, inputs="title")
    bare = FeatureView(
        name="bare",
        entities=[item],
        schema=[Field(name="e", dtype=Array(Float32))],
        source=FileSource(path="x.parquet"),
        tags=view.tags,
    )
    with pytest.raises(ConfigurationError, match="bare"):
        space_of(bare)
