"""Real Triton servers for tests: one with purpose-made models, one with the shipped encoders."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.config import TritonSettings
from connector.errors import ServingError
from connector.serving import LocalTriton, TritonClient
from connector.serving.environment import ServerEnvironment, find
from connector.serving.repository import write_model_files
from encoders.contract import EncoderContract
from encoders.files import write_json
from encoders.folder import write_graph_record

DIMENSION = 8

# Speaks the wire format of the encoders, and does what a text says: fail the row, take its time, die, or answer another
# request or without vectors, as Triton may while it replaces a worker, once (`garble:`, `bare:`) or always (`lie:`).
PROBE_MODEL = """
import hashlib, os, time, zlib
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        self.told = set()
        if os.path.exists(os.path.join(os.path.dirname(__file__), "refuse")):
            raise RuntimeError("the probe refuses to load")

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        texts = pb.get_input_tensor_by_name(request, "INPUT").as_numpy().reshape(-1)
        query = pb.get_input_tensor_by_name(request, "QUERY")
        queries = np.zeros(len(texts), bool) if query is None else query.as_numpy().reshape(-1)
        vectors = np.zeros((len(texts), DIMENSION), np.float32)
        errors = np.array([b""] * len(texts), dtype=object)
        for row, (text, asked) in enumerate(zip(texts, queries)):
            command, _, value = text.partition(b":")
            if command == b"bad":
                errors[row] = value
                continue
            if command == b"sleep":
                time.sleep(float(value))
            if command == b"die":
                os._exit(3)
            if command == b"raise":
                return pb.InferenceResponse(error=pb.TritonError("the probe was told to fail"))
            once = text not in self.told and command in (b"garble", b"bare")
            self.told.add(text)
            if once and command == b"bare":
                return pb.InferenceResponse([pb.Tensor("ERROR", errors.reshape(-1, 1))])
            if once or command == b"lie":
                texts = [b"of another", *texts[1:]]
            digest = hashlib.sha256(text + (b"?" if asked else b"")).digest()
            vectors[row] = np.frombuffer(digest[:DIMENSION], np.uint8)
        return pb.InferenceResponse([
            pb.Tensor("EMBEDDING", vectors),
            pb.Tensor("ERROR", errors.reshape(-1, 1)),
            pb.Tensor("CHECK", np.array([[zlib.crc32(t, int(q))] for t, q in zip(texts, queries)], np.uint32)),
        ])
"""


def probe_contract(name: str = "probe", version: int = 1, dimension: int = DIMENSION) -> EncoderContract:
    """Contract of the purpose-made model."""
    return EncoderContract(
        name=name,
        version=version,
        modality="text",
        dimension=dimension,
        metric="COSINE",
        pooling="mean",
        normalized=False,
        max_input=512,
        weights_hash="0" * 64,
        preprocessing_hash="0" * 64,
    )


def probe_vector(text: str | bytes, query: bool = False, dimension: int = DIMENSION) -> list[float]:
    """The vector that the purpose-made model gives a text."""
    content = text.encode() if isinstance(text, str) else text
    return [float(byte) for byte in hashlib.sha256(content + (b"?" if query else b"")).digest()[:dimension]]


def write_probe(repository: Path, contract: EncoderContract | None = None, **config: Any) -> EncoderContract:
    """Write the purpose-made model into a model repository."""
    written = contract or probe_contract()
    folder = repository / written.name / str(written.version)
    folder.mkdir(parents=True)
    write_json(folder / "encoder.json", {"contract": json.loads(written.to_json())})
    (folder / "model.onnx").write_bytes(b"")
    write_graph_record(folder, written)
    (folder / "model.py").write_text(PROBE_MODEL.replace("DIMENSION", str(written.dimension)))
    write_model_files(repository, written.name, **config)
    return written


def processes_of(repository: Path) -> list[int]:
    """Pids of servers and their workers that serve a model repository, zombies left out."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        arguments = process.info["cmdline"] or [""]
        ours = Path(arguments[0]).name.startswith("triton") and str(repository) in " ".join(arguments)
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.info["pid"])
    return found


@pytest.fixture(scope="session")
def triton_environment() -> ServerEnvironment:
    """The server's environment; skips where it was not built."""
    try:
        environment = find()
    except ServingError as error:
        pytest.skip(str(error))
    if environment is None:
        pytest.skip("the Triton environment is not there; `make test` builds it")
    return environment


@pytest.fixture(scope="session")
def probe_server(
    triton_environment: ServerEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalTriton]:
    """A Triton with the purpose-made model `probe`, version 1, batches of at most 16."""
    repository = tmp_path_factory.mktemp("probe-repository")
    write_probe(repository, max_batch=16)
    with LocalTriton(repository, triton_environment) as server:
        yield server


@pytest.fixture
def probe_settings() -> TritonSettings:
    """Small requests, so that a few texts make several."""
    return TritonSettings(batch_size=16, in_flight=3, timeout_s=20.0, retries=6)


@pytest.fixture
def probe_client(probe_server: LocalTriton, probe_settings: TritonSettings) -> Iterator[TritonClient]:
    """A connection to `probe_server`."""
    with TritonClient(probe_server.grpc_url, probe_settings) as client:
        yield client


@pytest.fixture(scope="session")
def model_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped encoders; `tiny_text` 1 and 2, `tiny_image` 3, `tiny_int8`, `tiny_sequence`, `tiny_masked`,
    `tiny_universal`, `tiny_projected` and `tiny_audio` 1; fused ones, `tiny_item` 1 over tiny members, and 2 over the
    shipped ones of text and pictures."""
    from connector.serving import publish
    from encoders import default_contract, export_int8
    from tests.unit.encoders import tiny_models

    repository = tmp_path_factory.mktemp("model-repository")
    sources = tmp_path_factory.mktemp("tiny-models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        for name in shipped():
            assert publish(repository, name, name=name, version=1) == default_contract(name)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        publish(repository, tiny_models.bert(sources / "bert"), name="tiny_text", version=1)
        export_int8(sources / "bert", sources / "int8", name="tiny_int8", sample=["a red dress", "a wooden chair"])
        publish(repository, sources / "int8", name="tiny_int8", version=1)
        publish(repository, tiny_models.bert(sources / "wider", hidden_size=64), name="tiny_text", version=2)
        publish(repository, tiny_models.vit(sources / "vit"), name="tiny_image", version=3)
        publish(repository, tiny_models.sequence(sources / "sequence"), name="tiny_sequence", version=1)
        publish(repository, tiny_models.sequence(sources / "masked", causal=False), name="tiny_masked", version=1)
        publish(repository, tiny_models.universal(sources / "universal"), name="tiny_universal", version=1)
        publish(repository, tiny_models.projected(sources / "projected"), name="tiny_projected", version=1)
        publish(repository, tiny_models.audio(sources / "waves"), name="tiny_audio", version=1)
        publish(repository, tiny_models.fused(sources / "item" / "tower"), name="tiny_item", version=1)
        publish(repository, tiny_models.fused_defaults(sources / "defaults"), name="tiny_item", version=2)
    return repository


def shipped() -> list[str]:
    """Names of the shipped encoders whose weights are here."""
    from encoders.errors import EncoderLoadError
    from encoders.source import DEFAULTS, default_folder

    names = []
    for name in DEFAULTS:
        try:
            default_folder(name)
        except EncoderLoadError:
            continue
        names.append(name)
    return names


@pytest.fixture(scope="session")
def encoder_server(triton_environment: ServerEnvironment, model_repository: Path) -> Iterator[LocalTriton]:
    """A Triton with the shipped encoders."""
    with LocalTriton(model_repository, triton_environment) as server:
        yield server


@pytest.fixture
def killed() -> Iterator[list[int]]:
    """Pids to be killed at the end of a test, whatever happens in it."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
