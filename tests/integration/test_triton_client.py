"""The client against a real Triton with a purpose-made model."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from connector.config import TritonSettings
from connector.errors import (
    ConfigurationError,
    ContractMismatchError,
    InvalidInputError,
    ServerUnavailableError,
    ServingError,
)
from connector.serving import LocalTriton, TritonClient, TritonEncoder
from connector.serving.environment import ServerEnvironment
from connector.serving.processes import free_ports, wait_until
from tests.triton_fixtures import probe_contract, probe_vector, write_probe

pytestmark = pytest.mark.triton


@pytest.fixture
def encoder(probe_client: TritonClient) -> TritonEncoder:
    return probe_client.encoder(probe_contract())


def expected(texts: list[str], query: bool = False) -> np.ndarray:
    return np.array([probe_vector(text, query) for text in texts], np.float32)


def test_the_server_says_what_it_serves(probe_client: TritonClient) -> None:
    assert probe_client.ready()
    assert probe_client.contracts() == [probe_contract()]


@pytest.mark.parametrize("count", [0, 1, 16, 17, 150])
def test_order_is_kept_over_many_requests(encoder: TritonEncoder, count: int) -> None:
    texts = [f"{i}" * (i % 11 + 1) for i in range(count)]
    vectors = encoder.encode(texts)
    assert vectors.shape == (count, 8)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, expected(texts).reshape(count, 8))


def test_the_query_side_reaches_the_model(encoder: TritonEncoder) -> None:
    np.testing.assert_array_equal(encoder.encode(["a", "b"], "query"), expected(["a", "b"], query=True))


def test_bad_rows_are_reported_by_position(encoder: TritonEncoder) -> None:
    items = ["a", "bad:no good", None, 7, "b", "\ud800", "c" * 30, "bad:é"]
    result = encoder.encode_tolerant(items)
    assert result.errors[1] == "no good"
    assert result.errors[7] == "é"
    assert "null" in result.errors[2]
    assert "int" in result.errors[3]
    assert "Unicode" in result.errors[5]
    np.testing.assert_array_equal(result.vectors[[0, 4, 6]], expected(["a", "b", "c" * 30]))
    assert not result.vectors[[1, 2, 3, 5, 7]].any()
    with pytest.raises(InvalidInputError, match="input 1: no good"):
        encoder.encode(items)


def test_awkward_bytes_arrive_as_they_are(encoder: TritonEncoder) -> None:
    items = [b"", b"\x00", b"\x00\xff\x00", "é\n\t", b"a" * 70_000, "tr\x00ailing\x00"]
    contents = [item.encode() if isinstance(item, str) else item for item in items]
    wanted = np.array([probe_vector(content) for content in contents], np.float32)
    np.testing.assert_array_equal(encoder.encode(items), wanted)


def test_a_text_of_megabytes(encoder: TritonEncoder) -> None:
    texts = ["a", "é" * 3_000_000, "b", "y" * 12_000_000]
    np.testing.assert_array_equal(encoder.encode(texts), expected(texts))


def test_requests_are_cut_to_what_the_model_takes(probe_server: LocalTriton) -> None:
    with TritonClient(probe_server.grpc_url, TritonSettings(batch_size=64)) as client:
        texts = [f"text {i}" for i in range(100)]
        np.testing.assert_array_equal(client.encoder(probe_contract()).encode(texts), expected(texts))


def test_several_threads_share_an_encoder(encoder: TritonEncoder) -> None:
    jobs = [[f"{job}-{i}" for i in range(40)] for job in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for texts, vectors in zip(jobs, pool.map(encoder.encode, jobs), strict=True):
            np.testing.assert_array_equal(vectors, expected(texts))


def test_an_unknown_model_or_version(probe_client: TritonClient) -> None:
    for contract in (probe_contract("absent"), probe_contract(version=2)):
        with pytest.raises(ServerUnavailableError, match=r"is not there or did not load; .*connector apply"):
            probe_client.encoder(contract)


def test_another_contract_is_refused_and_both_are_named(probe_client: TritonClient) -> None:
    wanted = probe_contract(dimension=9)
    with pytest.raises(ContractMismatchError) as caught:
        probe_client.encoder(wanted)
    assert wanted.label in str(caught.value)
    assert probe_contract().label in str(caught.value)


def test_a_refused_request_is_not_sent_again(encoder: TritonEncoder, probe_server: LocalTriton) -> None:
    before = executions_once_idle(probe_server)
    with pytest.raises(ServingError, match="the probe was told to fail") as caught:
        encoder.encode(["raise:"])
    assert not isinstance(caught.value, ServerUnavailableError)
    assert executions(probe_server) == before + 1


def test_an_answer_to_another_request_is_asked_for_again(encoder: TritonEncoder) -> None:
    for texts in (["a", "garble:1", "b"], ["bare:1"], ["c", "bare:2"]):
        for side in ("document", "query"):
            np.testing.assert_array_equal(encoder.encode(texts, side), expected(texts, side == "query"))


def test_a_server_that_never_answers_what_it_was_asked(probe_server: LocalTriton) -> None:
    with TritonClient(probe_server.grpc_url, TritonSettings(retries=1)) as client:
        with pytest.raises(
            ServerUnavailableError, match=r"is not to what was asked, .* restart the local stack"
        ) as caught:
            client.encoder(probe_contract()).encode(["lie:"])
        assert "\n" not in str(caught.value)


def test_one_failed_request_of_many_ends_the_call(encoder: TritonEncoder) -> None:
    with pytest.raises(ServingError, match="told to fail"):
        encoder.encode(["a"] * 40 + ["raise:"] + ["b"] * 40)


def test_a_slow_answer_is_a_clear_error(probe_server: LocalTriton) -> None:
    settings = TritonSettings(timeout_s=0.3, retries=0, batch_size=16)
    with TritonClient(probe_server.grpc_url, settings) as client:
        encoder = client.encoder(probe_contract())
        with pytest.raises(ServerUnavailableError, match=r"no answer in time; raise triton\.timeout_s"):
            encoder.encode(["sleep:1.0"])


def test_nobody_at_the_address() -> None:
    settings = TritonSettings(retries=1, timeout_s=5)
    with TritonClient(f"127.0.0.1:{free_ports(1)[0]}", settings) as client:
        assert not client.ready()
        with pytest.raises(ServerUnavailableError, match="connector up"):
            client.encoder(probe_contract())


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"triton\.root_certificates: .*ca\.pem: No such file"):
        TritonClient("127.0.0.1:1", TritonSettings(tls=True, root_certificates=str(tmp_path / "ca.pem")))


@pytest.fixture
def own_server(triton_environment: ServerEnvironment, tmp_path: Path) -> Iterator[LocalTriton]:
    write_probe(tmp_path, max_batch=16)
    with LocalTriton(tmp_path, triton_environment) as server:
        yield server


def test_a_server_killed_in_mid_stream_is_waited_for(own_server: LocalTriton) -> None:
    texts = [f"sleep:0.02 {i}"[:11] if i % 16 == 0 else f"text {i}" for i in range(400)]
    texts = [text if not text.startswith("sleep") else f"sleep:0.0{i % 7 + 1}" for i, text in enumerate(texts)]
    settings = TritonSettings(batch_size=16, in_flight=3, retries=8)
    before = own_server.pid
    with TritonClient(own_server.grpc_url, settings) as client:
        encoder = client.encoder(probe_contract())
        killer = threading.Timer(0.15, os.kill, (before, signal.SIGKILL))
        killer.start()
        vectors = encoder.encode(texts)
        killer.join()
    np.testing.assert_array_equal(vectors, expected(texts))
    assert own_server.pid != before
    assert own_server.restarts == 1


def test_a_dead_worker_is_replaced(own_server: LocalTriton) -> None:
    settings = TritonSettings(batch_size=16, retries=0)
    with TritonClient(own_server.grpc_url, settings) as client:
        with pytest.raises(ServerUnavailableError):
            client.encoder(probe_contract()).encode(["die:"])
        assert wait_until(lambda: own_server.restarts == 1 and client.ready(), 20)
        np.testing.assert_array_equal(client.encoder(probe_contract()).encode(["a"]), expected(["a"]))


def executions(server: LocalTriton) -> int:
    from tritonclient.grpc import InferenceServerClient

    client = InferenceServerClient(server.grpc_url)
    try:
        statistics = client.get_inference_statistics("probe")
        return int(statistics.model_stats[0].execution_count)
    finally:
        client.close()


def executions_once_idle(server: LocalTriton) -> int:
    """Other tests leave requests behind that nobody waits for; the longest sleeps for a second."""
    deadline = time.monotonic() + 30
    before, since = executions(server), time.monotonic()
    while time.monotonic() - since < 1.5:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        now = executions(server)
        if now != before:
            before, since = now, time.monotonic()
    return before


def test_answers_are_remembered_apart(triton_environment: ServerEnvironment, tmp_path: Path) -> None:
    from tritonclient.grpc import InferenceServerClient

    write_probe(tmp_path)
    write_probe(tmp_path, replace(probe_contract("clips"), modality="video"))
    with (
        LocalTriton(tmp_path, triton_environment, cache_mb=1) as server,
        TritonClient(server.grpc_url) as client,
        InferenceServerClient(server.grpc_url) as raw,
    ):
        texts, clips = client.encoder(probe_contract()), client.encoder(client.contracts()[0])
        for _ in range(3):
            np.testing.assert_array_equal(texts.encode(["a", "b"]), expected(["a", "b"]))
            np.testing.assert_array_equal(texts.encode(["a", "b"], "query"), expected(["a", "b"], query=True))
            assert clips.encode_tolerant([b"bad:the decoder was too slow"]).errors == {0: "the decoder was too slow"}
        counts = {}
        for model in ("probe", "clips"):
            statistics = raw.get_inference_statistics(model).model_stats[0]
            counts[model] = (statistics.inference_stats.cache_hit.count, statistics.execution_count)
    # After the warm-up, two questions were worked out once each; what a slow decoder said was asked for each time.
    assert counts == {"probe": (4, 1 + 2), "clips": (0, 1 + 3)}
