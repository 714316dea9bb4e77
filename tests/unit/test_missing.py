"""What a space does with items that lack one of its inputs: declared, checked, kept in tags and read back."""

from __future__ import annotations

from typing import Any

import pytest
from feast import Entity, Field, ValueType
from feast.types import String

from connector import embedding_view
from connector.errors import ConfigurationError
from connector.missing import modality_label
from connector.spaces import EmbeddingSpace, FieldSpec, space_of
from connector.stores import collection_spec_of_view
from connector.stores.shapes import differences
from connector.stores.specs import collection_spec, spec_from_json, spec_to_json
from encoders import default_contract, external_contract

ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
TEXT, IMAGE, AUDIO = (default_contract(name) for name in ("text", "image", "audio"))
FUSED = external_contract("whole", version=1, dimension=4, modality="fused")
BOTH = {"text": ["title", "description"], "image": "picture"}


def declared(**options: Any) -> EmbeddingSpace:
    return space_of(embedding_view("item_space", entity=ITEM, **options))


def test_a_fused_space_knows_its_parts() -> None:
    space = declared(contract=FUSED, inputs=BOTH, missing="impute", fields=[Field(name="title", dtype=String)])
    assert space.parts == (("text", ("title", "description")), ("image", ("picture",)))
    assert space.inputs == ("title", "description", "picture")
    assert (space.missing, space.wanted, space.says_modalities) == ("impute", ("text", "image"), True)
    assert space.fields == (FieldSpec("title", "String"), FieldSpec("modalities", "String"))


def test_a_space_of_one_modality_is_as_before() -> None:
    for inputs in ("title", ["title"], {"text": "title"}):
        space = declared(contract=TEXT, inputs=inputs)
        assert (space.parts, space.missing, space.inputs, space.fields) == ((), "absent", ("title",), ())
        assert not space.says_modalities


def test_a_stand_in_is_an_input_of_another_modality() -> None:
    inputs = {"image": "picture", "text": "title"}
    space = declared(contract=IMAGE, inputs=inputs, queries=[TEXT], missing="impute")
    assert (space.wanted, space.says_modalities) == (("image",), True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contract": TEXT, "inputs": "title", "missing": "guess"}, "missing='guess'; use absent, impute, error"),
        ({"contract": FUSED, "inputs": "title"}, "takes inputs by modality, not 'fused'"),
        ({"contract": FUSED, "inputs": {"smell": "x"}}, "takes inputs by modality, not 'smell'"),
        (
            {"contract": IMAGE, "inputs": {"image": "p", "text": "t"}},
            "text can only stand in where the image is missing",
        ),
        ({"contract": IMAGE, "inputs": "p", "missing": "impute"}, "needs inputs by modality: its own"),
        ({"contract": IMAGE, "inputs": {"text": "t"}, "missing": "impute"}, "needs inputs by modality: its own"),
        (
            {"contract": IMAGE, "inputs": {"image": "p", "audio": "a"}, "missing": "impute", "queries": [TEXT]},
            "no audio encoder in its space is among queries=",
        ),
        ({"contract": FUSED, "vectors": "v", "missing": "impute"}, "ready vectors cannot be imputed"),
        (
            {"contract": FUSED, "inputs": BOTH, "fields": [Field(name="modalities", dtype=String)]},
            "field 'modalities' is a reserved name",
        ),
    ],
)
def test_what_does_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        declared(**options)


def test_a_tag_that_cannot_be_read() -> None:
    view = embedding_view("item_space", entity=ITEM, contract=TEXT, inputs="title")
    view.tags = {**view.tags, "connector/missing": "guess"}
    with pytest.raises(ConfigurationError, match="cannot be read"):
        space_of(view)


def test_the_policy_is_part_of_what_a_collection_holds() -> None:
    views = [embedding_view("s", entity=ITEM, contract=FUSED, inputs=BOTH, missing=how) for how in ("absent", "error")]
    specs = [collection_spec_of_view(view) for view in views]
    assert specs == [collection_spec(space_of(view)) for view in views]
    assert differences(*specs) == ["missing='absent' there, 'error' declared"]
    assert spec_from_json(spec_to_json(specs[1])) == specs[1]
    # A collection from before there were policies.
    old = spec_to_json(specs[0]).replace('"missing":"absent",', "")
    assert spec_from_json(old) == specs[0]


def test_labels_are_in_one_order() -> None:
    assert modality_label(["text", "image"], {"text", "image"}) == "image,text"
    assert modality_label(["text", "image"], {"text"}) == "image:imputed,text"
