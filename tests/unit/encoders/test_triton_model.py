"""The Triton model, driven by the Python backend's own calls; the conformance tests run it in a real server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import encoders
from connector.errors import ServingError
from connector.serving.environment import find
from encoders import ContractMismatchError, EncoderError, EncoderLoadError
from encoders.triton_model import TritonPythonModel
from encoders.wire import row_checks

ROOT = Path(__file__).parents[3]
OUTPUTS = ("EMBEDDING", "ERROR", "CHECK")


@pytest.fixture(scope="module")
def repository(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`<model repository>/tiny` with version 2 in it; its query side differs."""
    folder = tmp_path_factory.mktemp("repository") / "tiny"
    prompts = {"prompts": {"query": "red "}}
    (bert_folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    try:
        encoders.export(bert_folder, folder / "2", name="tiny", version=2)
    finally:
        (bert_folder / "config_sentence_transformers.json").unlink()
    return folder


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part of `triton_python_backend_utils`, which exists only inside a server, that a model calls."""

    class Tensor:
        def __init__(self, name: str, array: np.ndarray) -> None:
            self.name, self.array = name, array

        def as_numpy(self) -> np.ndarray:
            return self.array

    class Response:
        def __init__(self, output_tensors: list[Tensor] | None = None, error: Any = None) -> None:
            self.outputs = {tensor.name: tensor.array for tensor in output_tensors or ()}
            self.error = error

    module = ModuleType("triton_python_backend_utils")
    module.Tensor = Tensor  # type: ignore[attr-defined]
    module.InferenceResponse = Response  # type: ignore[attr-defined]
    module.TritonError = lambda message: SimpleNamespace(message=message)  # type: ignore[attr-defined]
    module.get_input_tensor_by_name = lambda request, name: request.get(name)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)


def request(texts: list[bytes], query: list[bool] | None = None) -> dict[str, Any]:
    tensor = sys.modules["triton_python_backend_utils"].Tensor
    inputs = {"INPUT": tensor("INPUT", np.array(texts, dtype=object).reshape(-1, 1))}
    if query is not None:
        inputs["QUERY"] = tensor("QUERY", np.array(query).reshape(-1, 1))
    return inputs


def start(repository: Path, outputs: Sequence[str] = OUTPUTS, **parameters: str) -> TritonPythonModel:
    config = {
        "output": [{"name": name} for name in outputs],
        "parameters": {name: {"string_value": value} for name, value in parameters.items()},
    }
    model = TritonPythonModel()
    model.initialize({"model_repository": str(repository), "model_version": "2", "model_config": json.dumps(config)})
    return model


@pytest.fixture
def model(repository: Path) -> Iterator[TritonPythonModel]:
    served = start(repository, threads="2")
    yield served
    served.finalize()


def test_requests_are_answered_each_with_its_own_rows(model: TritonPythonModel, repository: Path) -> None:
    texts = [b"red dress", b"chair", b"apple", b"a longer text about a table", b"1 2 3"]
    with encoders.load(repository / "2") as encoder:
        wanted = encoder.encode(texts)
    responses = model.execute([request(texts[:2]), request(texts[2:3]), request(texts[3:])])
    assert [response.outputs["EMBEDDING"].shape for response in responses] == [(2, 32), (1, 32), (2, 32)]
    found = np.concatenate([response.outputs["EMBEDDING"] for response in responses])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found.dtype == np.float32
    for response in responses:
        assert response.outputs["ERROR"].shape == (len(response.outputs["EMBEDDING"]), 1)
        assert not any(response.outputs["ERROR"].reshape(-1))


def test_all_requests_are_encoded_in_one_call(model: TritonPythonModel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    encode = model._encoder.encode_tolerant
    monkeypatch.setattr(
        model._encoder, "encode_tolerant", lambda items, side: calls.append((len(items), side)) or encode(items, side)
    )
    model.execute([request([b"red"] * 3), request([b"chair"] * 4, [False] * 4)])
    assert calls == [(7, "document")]


def test_sides_may_be_mixed_row_by_row(model: TritonPythonModel, repository: Path) -> None:
    with encoders.load(repository / "2") as encoder:
        documents, queries = encoder.encode(["dress", "chair"]), encoder.encode(["dress", "chair"], "query")
    answer = model.execute([request([b"dress", b"dress", b"chair", b"chair"], [False, True, True, False])])[0]
    np.testing.assert_allclose(
        answer.outputs["EMBEDDING"], np.stack([documents[0], queries[0], queries[1], documents[1]]), atol=1e-5
    )


def test_each_row_says_whose_answer_it_is(model: TritonPythonModel) -> None:
    first, second = model.execute([request([b"red", b"", b"\xff"]), request([b"red", b"chair"], [True, False])])
    np.testing.assert_array_equal(first.outputs["CHECK"], row_checks([b"red", b"", b"\xff"]).reshape(-1, 1))
    np.testing.assert_array_equal(second.outputs["CHECK"][1:], row_checks([b"chair"]).reshape(-1, 1))
    np.testing.assert_array_equal(second.outputs["CHECK"][:1], row_checks([b"red"], True).reshape(-1, 1))
    assert second.outputs["CHECK"][0] != first.outputs["CHECK"][0]
    assert first.outputs["CHECK"].dtype == np.uint32


def test_a_configuration_of_an_older_version_is_answered_as_it_states(repository: Path) -> None:
    older = start(repository, OUTPUTS[:2])
    assert list(older.execute([request([b"red"])])[0].outputs) == ["EMBEDDING", "ERROR"]
    older.finalize()


def test_bad_rows_are_reported_beside_good_ones(model: TritonPythonModel) -> None:
    texts = [b"red", b"", b"\xff", b"chair", b" "]
    for sides in (None, [False, True, False, True, True]):
        answer = model.execute([request(texts, sides)])[0]
        reasons = [bool(reason) for reason in answer.outputs["ERROR"].reshape(-1)]
        assert reasons == [False, True, True, False, True]
        assert all(isinstance(reason, bytes) for reason in answer.outputs["ERROR"].reshape(-1))
        assert answer.outputs["EMBEDDING"].any(axis=1).tolist() == [True, False, False, True, False]


def test_an_empty_batch_is_answered(model: TritonPythonModel) -> None:
    assert model.execute([]) == []
    assert model.execute([request([])])[0].outputs["EMBEDDING"].shape == (0, 32)


def test_a_failing_encoder_fails_its_requests_and_no_more(
    model: TritonPythonModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise EncoderError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(model._encoder, "encode_tolerant", fail)
        answers = model.execute([request([b"red"]), request([b"chair"])])
    assert [answer.error.message for answer in answers] == ["out of memory"] * 2
    assert model.execute([request([b"red"])])[0].error is None


def test_parameters_of_the_configuration_are_heeded(repository: Path) -> None:
    contract = encoders.EncoderFolder.open(repository / "2").contract
    limited = start(
        repository, **{"limit.max_bytes": "4", "contract_hash": contract.hash, "contract": contract.to_json()}
    )
    assert limited.execute([request([b"red", b"chair"])])[0].outputs["ERROR"][1, 0]
    limited.finalize()
    with pytest.raises(ContractMismatchError, match="0123456789abcdef"):
        start(repository, contract_hash="0123456789abcdef")


def test_another_graph_is_not_served(repository: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(repository, tmp_path / "tiny"))
    with (copied / "2" / "model.onnx").open("ab") as graph:
        graph.write(b"\0")
    with pytest.raises(EncoderLoadError, match="is not the graph that was exported here"):
        start(copied)


@pytest.mark.triton
def test_the_servers_environment_gives_the_same_vectors(repository: Path) -> None:
    try:
        environment = find()
    except ServingError as error:
        pytest.skip(str(error))
    if environment is None:
        pytest.skip("no environment with the Triton wheel; `make test` builds it")
    texts = ["red dress", "chair", "a longer text about a table and an apple"]
    program = (
        "import json, sys, numpy; import encoders.triton_model; from encoders import load; "
        f"vectors = load({str(repository / '2')!r}).encode({texts!r}); "
        "heavy = sorted({'torch', 'transformers'} & set(sys.modules)); "
        "print(json.dumps([numpy.__version__, heavy, vectors.tolist()]))"
    )
    done = subprocess.run(
        [str(environment.root / "bin" / "python"), "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd="/",
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    numpy_version, heavy, vectors = json.loads(done.stdout)
    assert int(numpy_version.split(".")[0]) < 2
    assert heavy == []
    with encoders.load(repository / "2") as encoder:
        np.testing.assert_allclose(np.array(vectors), encoder.encode(texts), atol=1e-5)
