"""Behaviour that every encoder shows, in process or on a server, ours or a third party's.

class TestMyEncoder(EncoderSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls):
        with MyEncoder() as encoder:
            yield encoder

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls):
        return ["a red dress", "a wooden chair", "green apples"]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls):
        return [None, "", b"\\xff"]
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from encoders.base import Encoder
from encoders.contract import EncoderContract
from encoders.errors import InvalidInputError

Vectors = NDArray[np.float32]
LEAST_COSINE = 0.9999


class EncoderSuite:
    """Subclass it, give the fixtures `encoder`, `valid_inputs` and `bad_inputs`, and pytest runs the rest."""

    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls) -> Encoder:
        """The encoder under test, open."""
        raise NotImplementedError("the subclass gives the fixture `encoder`")

    @pytest.fixture(scope="class")
    @classmethod
    def valid_inputs(cls) -> Sequence[Any]:
        """At least three inputs that differ from each other, of different lengths or sizes."""
        raise NotImplementedError("the subclass gives the fixture `valid_inputs`")

    @pytest.fixture(scope="class")
    @classmethod
    def bad_inputs(cls) -> Sequence[Any]:
        """Inputs that cannot be encoded: null, empty, wrong type, damaged."""
        raise NotImplementedError("the subclass gives the fixture `bad_inputs`")

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls) -> Vectors | None:
        """Vectors of `valid_inputs` by another implementation of the contract, float32 [n, dimension]; optional."""
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def vectors(cls, encoder: Encoder, valid_inputs: Sequence[Any]) -> Vectors:
        """Vectors of `valid_inputs`, encoded at once."""
        return encoder.encode(valid_inputs)

    def test_vectors_are_float32_of_the_contract_dimension(
        self, encoder: Encoder, valid_inputs: Sequence[Any], vectors: Vectors
    ) -> None:
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(valid_inputs), encoder.contract.dimension)
        assert np.isfinite(vectors).all()

    def test_different_inputs_have_different_vectors(self, vectors: Vectors) -> None:
        assert len(np.unique(vectors.round(6), axis=0)) == len(vectors)

    def test_vectors_are_normalised_as_the_contract_says(self, encoder: Encoder, vectors: Vectors) -> None:
        norms = np.linalg.norm(vectors, axis=1)
        assert (norms > 0).all()
        if encoder.contract.normalized:
            np.testing.assert_allclose(norms, 1.0, atol=1e-3)

    def test_an_empty_batch_is_encoded(self, encoder: Encoder) -> None:
        result = encoder.encode_tolerant([])
        assert result.vectors.shape == (0, encoder.contract.dimension)
        assert result.vectors.dtype == np.float32
        assert result.errors == {}

    def test_rows_keep_the_order_of_their_inputs(
        self, encoder: Encoder, valid_inputs: Sequence[Any], vectors: Vectors
    ) -> None:
        assert_same_direction(encoder.encode(list(valid_inputs)[::-1])[::-1], vectors)

    def test_encoding_again_gives_the_same(
        self, encoder: Encoder, valid_inputs: Sequence[Any], vectors: Vectors
    ) -> None:
        np.testing.assert_allclose(encoder.encode(valid_inputs), vectors, atol=1e-5)

    def test_a_vector_does_not_depend_on_its_batch(
        self, encoder: Encoder, valid_inputs: Sequence[Any], vectors: Vectors
    ) -> None:
        assert_same_direction(np.concatenate([encoder.encode([item]) for item in valid_inputs]), vectors)
        assert_same_direction(encoder.encode(list(valid_inputs) * 9)[-len(valid_inputs) :], vectors)

    def test_bad_rows_are_reported_by_index_and_stop_no_other(
        self, encoder: Encoder, valid_inputs: Sequence[Any], bad_inputs: Sequence[Any], vectors: Vectors
    ) -> None:
        mixed: list[Any] = []
        good: list[int] = []
        for position, bad in enumerate(bad_inputs):
            mixed.append(bad)
            good.append(len(mixed))
            mixed.append(valid_inputs[position % len(valid_inputs)])
        result = encoder.encode_tolerant(mixed)
        assert sorted(result.errors) == [row for row in range(len(mixed)) if row not in good]
        for reason in result.errors.values():
            assert reason.strip()
            assert "\n" not in reason
        assert not result.vectors[sorted(result.errors)].any()
        wanted = vectors[[position % len(valid_inputs) for position in range(len(bad_inputs))]]
        assert_same_direction(result.vectors[good], wanted)

    def test_a_batch_of_bad_rows_alone_is_answered(self, encoder: Encoder, bad_inputs: Sequence[Any]) -> None:
        result = encoder.encode_tolerant(bad_inputs)
        assert sorted(result.errors) == list(range(len(bad_inputs)))
        assert not result.vectors.any()

    def test_encode_raises_the_first_bad_row(
        self, encoder: Encoder, valid_inputs: Sequence[Any], bad_inputs: Sequence[Any]
    ) -> None:
        with pytest.raises(InvalidInputError) as caught:
            encoder.encode([valid_inputs[0], bad_inputs[0], bad_inputs[-1]])
        assert caught.value.index == 1

    def test_the_query_side_lies_in_the_same_space(
        self, encoder: Encoder, valid_inputs: Sequence[Any], vectors: Vectors
    ) -> None:
        queries = encoder.encode(valid_inputs, "query")
        assert queries.shape == vectors.shape
        if encoder.contract.normalized:
            nearest = (queries @ vectors.T).argmax(axis=1)
            assert nearest.tolist() == list(range(len(valid_inputs)))

    def test_several_threads_may_encode_at_once(
        self, encoder: Encoder, valid_inputs: Sequence[Any], vectors: Vectors
    ) -> None:
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: encoder.encode(valid_inputs), range(8)):
                assert_same_direction(found, vectors)

    def test_the_contract_survives_its_json_form(self, encoder: Encoder) -> None:
        contract = encoder.contract
        again = EncoderContract.from_json(contract.to_json())
        assert again == contract
        assert again.hash == contract.hash
        assert contract.shares_space_with(again)

    def test_vectors_agree_with_the_reference(self, vectors: Vectors, reference: Vectors | None) -> None:
        if reference is None:
            pytest.skip("no reference is given")
        assert_same_direction(vectors, reference)


def assert_same_direction(found: Vectors, wanted: Vectors, least: float = LEAST_COSINE) -> None:
    """Fail unless the cosine of every pair of rows is at least `least`."""
    assert found.shape == wanted.shape
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine = (found * wanted).sum(axis=1) / np.maximum(norms, 1e-12)
    assert (cosine >= least).all(), f"smallest cosine {cosine.min():.6f} of row {int(cosine.argmin())}, wanted {least}"
