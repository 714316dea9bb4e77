"""Which encoder makes the query of which space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from connector.errors import ContractMismatchError, QueryError
from connector.retrieval.encode_query import encode_query
from connector.retrieval.query import build_query
from connector.spaces import EmbeddingSpace, FieldSpec
from encoders.base import Encoder, EncodeResult, Side
from encoders.contract import EncoderContract, external_contract


def contract(name: str, modality: Any, **more: Any) -> EncoderContract:
    record = {
        "version": 1,
        "dimension": 4,
        "metric": "COSINE",
        "pooling": "mean",
        "normalized": True,
        "max_input": 8,
        "weights_hash": name,
        "preprocessing_hash": "p",
        **more,
    }
    return EncoderContract(name=name, modality=modality, **record)


WORDS = contract("words", "text")
PICTURES = contract("pictures", "image", aligned_with=(WORDS.hash,))
OTHERS = contract("others", "image")
READY = external_contract("ready", version=1, dimension=4, modality="text")


def space(name: str, own: EncoderContract, *queries: EncoderContract) -> EmbeddingSpace:
    return EmbeddingSpace(
        name=name,
        entity="item",
        join_key=FieldSpec("item_id", "String"),
        vector_field="v",
        contract=own,
        queries=(own, *queries),
        inputs=("x",),
        input_kind="raw",
        fields=(),
        log_path="data",
        index={},
    )


TEXT_SPACE = space("item_text", WORDS)
TITLE_SPACE = space("item_title", WORDS)
IMAGE_SPACE = space("item_image", PICTURES, WORDS)
OTHER_SPACE = space("item_other", OTHERS)
READY_SPACE = space("item_ready", READY)


class Counting(Encoder):
    """Gives the vector of its contract's first letter, and keeps what it was asked."""

    def __init__(self, own: EncoderContract, asked: list[tuple[str, Any, Side]]) -> None:
        self._contract = own
        self._asked = asked

    @property
    def contract(self) -> EncoderContract:
        return self._contract

    def encode_tolerant(self, items: Sequence[Any], side: Side = "document") -> EncodeResult:
        self._asked.append((self._contract.name, items[0], side))
        if items[0] == b"broken":
            return EncodeResult(np.zeros((1, 4), np.float32), {0: "not a picture"})
        return EncodeResult(np.full((1, 4), ord(self._contract.name[0]), np.float32))


@pytest.fixture
def asked() -> list[tuple[str, Any, Side]]:
    return []


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def vectors_of(
    asked: list[tuple[str, Any, Side]], pool: Executor, spaces: Sequence[EmbeddingSpace], **query: Any
) -> dict[str, float]:
    made = encode_query(
        build_query([each.name for each in spaces], **query), spaces, lambda own: Counting(own, asked), pool
    )
    return {name: float(vector[0]) for name, vector in made.items()}


def test_words_find_pictures_through_the_aligned_text_encoder(asked: list[Any], pool: Executor) -> None:
    assert vectors_of(asked, pool, [IMAGE_SPACE], text="red") == {"item_image": ord("w")}
    assert asked == [("words", "red", "query")]


def test_spaces_of_one_encoder_share_one_encoding(asked: list[Any], pool: Executor) -> None:
    spaces = [TEXT_SPACE, TITLE_SPACE, IMAGE_SPACE]
    assert set(vectors_of(asked, pool, spaces, text="red")) == {"item_text", "item_title", "item_image"}
    assert len(asked) == 1


def test_each_space_takes_the_query_of_its_own_modality(asked: list[Any], pool: Executor) -> None:
    made = vectors_of(asked, pool, [TEXT_SPACE, IMAGE_SPACE], text="red", image=b"jpeg")
    assert made == {"item_text": ord("w"), "item_image": ord("p")}


@pytest.mark.parametrize(
    ("spaces", "query", "message"),
    [
        ([TEXT_SPACE], {"image": b"jpeg"}, r"item_text cannot be queried by image; use text="),
        ([OTHER_SPACE], {"text": "red"}, r"item_other cannot be queried by text; use image= or vector="),
        ([READY_SPACE], {"text": "red"}, r"item_ready cannot be queried by text; use vector= or item_id="),
        ([IMAGE_SPACE], {"text": "red", "image": b"jpeg"}, r"text= would be left unused"),
        ([TEXT_SPACE], {"vector": [1.0, 2.0]}, r"2 numbers; space item_text holds vectors of 4"),
        ([TEXT_SPACE], {"vector": [0.0] * 4}, r"all zeros"),
        ([IMAGE_SPACE], {"image": b"broken"}, r"image cannot be encoded: not a picture"),
    ],
)
def test_queries_that_do_not_fit(
    asked: list[Any], pool: Executor, spaces: list[EmbeddingSpace], query: dict[str, Any], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        vectors_of(asked, pool, spaces, **query)


def test_one_vector_goes_to_spaces_that_share_a_space_only(asked: list[Any], pool: Executor) -> None:
    assert set(vectors_of(asked, pool, [TEXT_SPACE, IMAGE_SPACE], vector=[1.0] * 4)) == {"item_text", "item_image"}
    with pytest.raises(ContractMismatchError, match=r"words/1 .* others/1"):
        vectors_of(asked, pool, [TEXT_SPACE, OTHER_SPACE], vector=[1.0] * 4)


def test_a_query_contract_that_does_not_share_the_space_is_refused(asked: list[Any], pool: Executor) -> None:
    tampered = space("item_other", OTHERS, WORDS)
    with pytest.raises(ContractMismatchError, match=r"item_other"):
        vectors_of(asked, pool, [tampered], text="red")
    assert asked == []
