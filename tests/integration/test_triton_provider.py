"""Where a feature repository's encoders come from, in each mode."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from connector.config import TritonSettings
from connector.errors import ContractMismatchError, ServerUnavailableError, ServingError
from connector.serving import EncoderProvider, LocalTriton, publish
from connector.serving import provider as providers
from connector.serving.environment import VARIABLE, ServerEnvironment
from encoders.contract import EncoderContract
from tests.triton_fixtures import probe_contract, processes_of, write_probe
from tests.unit.encoders import tiny_models

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EncoderContract]:
    """A folder with a model repository that holds one tiny encoder, and its contract."""
    folder = tmp_path_factory.mktemp("feature-repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        contract = publish(folder / "triton_models", tiny_models.bert(folder / "bert"), name="words", version=1)
    return folder, contract


@pytest.fixture
def _environment(triton_environment: ServerEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(triton_environment.root))


def test_a_configured_server_is_asked(probe_server: LocalTriton, tmp_path: Path) -> None:
    provider = EncoderProvider(TritonSettings(url=probe_server.grpc_url), tmp_path)
    assert provider.describe() == f"encoders run on Triton at {probe_server.grpc_url}"
    encoder = provider.get(probe_contract())
    assert provider.get(probe_contract()) is encoder
    assert encoder.encode(["a"]).shape == (1, 8)
    with pytest.raises(ContractMismatchError):
        provider.get(probe_contract(dimension=9))
    provider.close()
    provider.close()


def test_in_process(published: tuple[Path, EncoderContract]) -> None:
    folder, contract = published
    provider = EncoderProvider(TritonSettings(mode="process"), folder)
    assert provider.describe() == "encoders run in this process"
    encoder = provider.get(contract)
    assert encoder.contract == contract
    assert encoder.encode(["red dress"]).shape == (1, 32)
    provider.close()
    assert not processes_of(folder)


@pytest.mark.usefixtures("_environment")
def test_auto_starts_a_server_for_this_process(published: tuple[Path, EncoderContract]) -> None:
    folder, contract = published
    provider = EncoderProvider(TritonSettings(), folder)
    assert provider.describe() == "encoders start when first used"
    assert not processes_of(folder)
    with provider:
        vectors = provider.get(contract).encode(["red dress"])
        assert "started for this process" in provider.describe()
        assert processes_of(folder)
        # Published while the server runs: it is taken up when first asked for.
        later = write_probe(folder / "triton_models", probe_contract("later"))
        assert provider.get(later).encode(["a"]).shape == (1, 8)
        assert provider.get(contract).encode(["red dress"]).shape == vectors.shape
    assert not processes_of(folder)
    local = EncoderProvider(TritonSettings(mode="process"), folder)
    np.testing.assert_allclose(local.get(contract).encode(["red dress"]), vectors, atol=1e-5)
    local.close()


@pytest.mark.parametrize("reason", ["absent", "broken"])
def test_auto_falls_back_to_this_process_and_says_so(
    published: tuple[Path, EncoderContract],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reason: str,
) -> None:
    folder, contract = published

    def find(*_: object, **__: object) -> None:
        if reason == "broken":
            raise ServingError("there is no Triton wheel for this platform")

    monkeypatch.setattr(providers, "find", find)
    provider = EncoderProvider(TritonSettings(), folder)
    with caplog.at_level(logging.WARNING):
        assert provider.get(contract).encode(["red dress"]).shape == (1, 32)
    assert len(caplog.records) == 1
    expected = "there is no Triton" if reason == "broken" else "connector up"
    assert expected in caplog.text
    assert expected in provider.describe()
    provider.close()


def test_server_mode_without_a_server(tmp_path: Path) -> None:
    provider = EncoderProvider(TritonSettings(mode="server"), tmp_path)
    with pytest.raises(ServerUnavailableError, match=r"connector up.*triton\.url"):
        provider.get(probe_contract())


def test_an_encoder_that_was_not_published(published: tuple[Path, EncoderContract]) -> None:
    folder, contract = published
    provider = EncoderProvider(TritonSettings(mode="process"), folder)
    with pytest.raises(ServingError, match=r"absent/1 .* is not in .*connector apply"):
        provider.get(probe_contract("absent"))
    with pytest.raises(ContractMismatchError) as caught:
        provider.get(probe_contract("words"))
    assert contract.label in str(caught.value)
    provider.close()
