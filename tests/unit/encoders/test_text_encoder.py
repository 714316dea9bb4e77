from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from encoders import EncoderError, InvalidInputError, Runtime, external_contract
from encoders.media.text import TextPreprocessing
from encoders.media.tokens import MAX_BYTES
from encoders.text import TextEncoder
from tests.unit.encoders.tiny_models import tiny_tokenizer

CONTRACT = external_contract("tiny", version=1, dimension=4, modality="text")


class Recorder(Runtime):
    """Vectors that tell what the network was given: first token, count and sum of tokens, width of the batch."""

    label = "recorder"

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self.shapes: list[tuple[int, int]] = []
        self.threads: set[str] = set()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        self.shapes.append(ids.shape)
        self.threads.add(threading.current_thread().name)
        columns = [ids[:, 1], mask.sum(1), (ids * mask).sum(1), np.full(len(ids), ids.shape[1])]
        return np.stack(columns, axis=1).astype(np.float32)


def encoder(runtime: Runtime | None = None, /, **changes: Any) -> TextEncoder:
    options = {name: changes.pop(name) for name in ("max_bytes", "token_budget") if name in changes}
    preprocessing = TextPreprocessing(**{"max_tokens": 32, "tokenizer_sha256": "", **changes})
    return TextEncoder(CONTRACT, preprocessing, tiny_tokenizer(), runtime or Recorder(), **options)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_vector_that_is_not_finite_is_an_error_of_its_row(number: float) -> None:
    class Overflowing(Recorder):
        def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
            vectors = super().run(inputs)
            vectors[inputs["attention_mask"].sum(1) > 4, 0] = number
            return vectors

    result = encoder(Overflowing()).encode_tolerant(["red", None, "red chair red chair red", "chair"])
    assert list(result.errors) == [1, 2]
    assert "not finite" in result.errors[2]
    assert not result.vectors[2].any()
    np.testing.assert_array_equal(result.vectors[[0, 3], :3], encoder().encode(["red", "chair"])[:, :3])


def test_str_and_utf8_bytes_are_the_same_text() -> None:
    vectors = encoder().encode(["red dress", b"red dress", bytearray(b"red dress"), memoryview(b"red dress"), "chair"])
    assert (vectors[:4] == vectors[0]).all()
    assert (vectors[4] != vectors[0]).any()


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (None, "null"),
        (3, "got int"),
        (float("nan"), "got float"),
        (["red"], "got list"),
        ("", "empty"),
        (b"", "empty"),
        (" \t\n\u2003", "empty"),
        (b"\xff\xfe", "UTF-8"),
        (b"caf\xe9", "byte 3"),
        ("lone \ud800 surrogate", "surrogate"),
        ("x" * (MAX_BYTES + 1), "limit"),
        ("é" * (MAX_BYTES // 2 + 1), "limit"),
        (b"x" * (MAX_BYTES + 1), "limit"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_bad_row_is_named_and_stops_no_other(item: object, reason: str) -> None:
    result = encoder().encode_tolerant(["red", item, "chair"])
    assert list(result.errors) == [1]
    assert reason in result.errors[1]
    assert not result.vectors[1].any()
    np.testing.assert_array_equal(result.vectors[[0, 2]], encoder().encode(["red", "chair"]))
    with pytest.raises(InvalidInputError) as caught:
        encoder().encode(["red", item])
    assert caught.value.index == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=30), st.binary(max_size=30), st.none(), st.integers()), max_size=12))
def test_any_values_give_vectors_or_reasons(items: list[object]) -> None:
    result = encoder().encode_tolerant(items)
    assert result.vectors.shape == (len(items), 4)
    bad = [row for row in range(len(items)) if not result.vectors[row].any()]
    assert sorted(result.errors) == bad


def test_the_byte_limit_can_be_set_and_is_inclusive() -> None:
    small = encoder(max_bytes=8)
    assert small.encode_tolerant(["x" * 8, "éééé", "x" * 9, "ééééé", b"123456789"]).errors.keys() == {2, 3, 4}


def test_long_texts_are_cut_at_the_token_limit() -> None:
    assert encoder().encode(["red " * 1000])[0, 1] == 32


def test_short_texts_do_not_pay_for_long_neighbours() -> None:
    runtime = Recorder()
    texts = ["red", "red " * 20] * 40
    vectors = encoder(runtime, token_budget=128).encode(texts)
    assert vectors[0::2, 1].tolist() == [3] * 40
    assert vectors[1::2, 1].tolist() == [22] * 40
    assert all(rows * width <= 128 for rows, width in runtime.shapes)
    padded = sum(rows * width for rows, width in runtime.shapes)
    assert padded <= 1.15 * 40 * (3 + 22)


def test_one_text_over_the_budget_still_runs() -> None:
    runtime = Recorder()
    encoder(runtime, token_budget=4).encode(["red " * 20])
    assert runtime.shapes == [(1, 22)]


def test_sub_batches_run_on_several_threads_and_a_query_in_the_callers() -> None:
    runtime = Recorder(workers=2)
    with encoder(runtime, token_budget=64) as several:
        several.encode(["red " * 20] * 12)
        assert threading.current_thread().name not in runtime.threads
        runtime.threads.clear()
        several.encode(["red"])
    assert runtime.threads == {threading.current_thread().name}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encoder")]


def test_a_failing_run_is_raised_from_the_threads() -> None:
    class Failing(Recorder):
        def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
            raise EncoderError("the device is gone")

    with encoder(Failing(2), token_budget=64) as broken, pytest.raises(EncoderError, match="gone"):
        broken.encode(["red " * 20] * 12)


def test_prompts_stand_in_front_of_their_side() -> None:
    prompted = encoder(prompts={"query": "chair ", "document": "apple "})
    plain = encoder()
    np.testing.assert_array_equal(prompted.encode(["red"], "query"), plain.encode(["chair red"]))
    np.testing.assert_array_equal(prompted.encode(["red"]), plain.encode(["apple red"]))
    assert prompted.encode_tolerant([" "]).errors


def test_padding_to_full_length_and_padding_token() -> None:
    runtime = Recorder()
    encoder(runtime, padding="max_tokens", token_budget=64).encode(["red", "chair", "apple"])
    assert runtime.shapes == [(2, 32), (1, 32)]


def test_a_text_that_the_tokenizer_drops_is_empty() -> None:
    for prompts in ({}, {"query": "chair "}):
        result = encoder(prompts=prompts).encode_tolerant(["\u200b", "red"])
        assert list(result.errors) == [0]
        assert "empty" in result.errors[0]
