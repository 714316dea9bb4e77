"""In which words two shapes of a collection differ, and how many columns a shape takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pymilvus import MilvusClient

from connector.errors import ConfigurationError
from connector.stores.base import CollectionSpec, ScalarField, VectorField
from connector.stores.capabilities import capabilities_of, within
from connector.stores.layout import column_count, milvus_schema, most_fields
from connector.stores.shapes import differences, index_differences, misfit

HNSW = {"index_type": "HNSW", "M": 16, "efConstruction": 200}


def spec(index: dict[str, Any] | None = None, fields: int = 2, **changes: Any) -> CollectionSpec:
    made = CollectionSpec(
        name="things__v1",
        keys=(ScalarField("thing_id", "string"),),
        fields=tuple(ScalarField(f"f{number}", "string") for number in range(fields)),
        vector=VectorField("look", 4, "COSINE", HNSW if index is None else index),
        contract_hash="abc",
    )
    return replace(made, **changes)


def test_another_index_is_a_difference_in_words() -> None:
    (line,) = differences(spec(), spec({**HNSW, "M": 32}))
    assert line == "index HNSW, M=16, efConstruction=200 there, HNSW, M=32, efConstruction=200 declared"
    (line,) = differences(spec(), spec({"index_type": "IVF_FLAT", "nlist": 128}))
    assert line.endswith("there, IVF_FLAT, nlist=128 declared")
    text = misfit(spec(), spec({**HNSW, "M": 32}))
    assert line != text
    assert "next revision=" in text
    assert "\n" not in text


@pytest.mark.parametrize("index", [{"M": 16, "efConstruction": 200}, {**HNSW, "M": "16"}])
def test_the_same_index_in_other_words_is_none(index: dict[str, Any]) -> None:
    assert differences(spec(), spec(index)) == []
    assert misfit(spec(), spec(index)) == ""


def test_of_another_vector_only_the_vector_is_named() -> None:
    other = spec(vector=VectorField("look", 8, "COSINE", {**HNSW, "M": 32}))
    assert index_differences(spec(), other) == []
    assert [line.split()[0] for line in differences(spec(), other)] == ["vector"]
    assert index_differences(spec(), spec(vector=None)) == []


@pytest.mark.parametrize("fields", [0, 1, 5, 6, 7, 12, 13, 51])
@pytest.mark.parametrize("words", [(), ("f0",)])
@pytest.mark.parametrize("kind", ["string", "int64"])
def test_columns_are_counted_as_they_are_made(fields: int, words: tuple[str, ...], kind: Any) -> None:
    shape = spec(fields=fields, keyword_fields=words if fields else (), keys=(ScalarField("thing_id", kind),))
    assert column_count(shape) == len(milvus_schema(MilvusClient, shape).fields)


@pytest.mark.parametrize("words", [(), ("f0",)])
def test_the_most_fields_fit_and_one_more_is_refused_in_one_line(words: tuple[str, ...]) -> None:
    server = capabilities_of("2.6.1", 64)
    most = most_fields(spec(keyword_fields=words), 64)
    assert within(spec(fields=most, keyword_fields=words), server)[1] == []
    with pytest.raises(ConfigurationError, match="need 65 columns") as caught:
        within(spec(fields=most + 1, keyword_fields=words), server)
    text = str(caught.value)
    assert f"{most + 1} fields" in text
    assert f"enough for {most} fields" in text
    assert "split the view" in text
    assert "\n" not in text
    assert within(spec(fields=200), capabilities_of("milvus_lite-3.2.2", 64))[1] == []
