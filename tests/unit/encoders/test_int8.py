"""8-bit encoders: what they promise about their vectors, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import encoders
from encoders.errors import EncoderLoadError
from tests.unit.encoders import tiny_models

WORDS = ("red", "green", "wool", "linen", "coat", "lamp", "small", "old", "with", "stripes")
SAMPLE = [" ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 2 + i % 9)) for i in range(40)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, encoders.EncoderContract, encoders.Int8Loss]:
    folder = tmp_path_factory.mktemp("int8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        source = tiny_models.bert(folder / "bert")
        contract, loss = encoders.export_int8(source, folder / "small", name="words", version=3, sample=SAMPLE)
    return folder, contract, loss


def test_vectors_do_not_depend_on_their_batch(made: tuple[Path, encoders.EncoderContract, encoders.Int8Loss]) -> None:
    with encoders.load(made[0] / "small", threads=2) as encoder:
        together = encoder.encode(SAMPLE)
        alone = np.concatenate([encoder.encode([text]) for text in SAMPLE])
    np.testing.assert_array_equal(together, alone)


def test_the_loss_is_what_a_user_would_measure(
    made: tuple[Path, encoders.EncoderContract, encoders.Int8Loss], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, loss = made
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    with encoders.load(folder / "bert") as exact, encoders.load(folder / "small") as rounded:
        wanted, found = exact.encode(SAMPLE), rounded.encode(SAMPLE)
    cosines = (wanted * found).sum(axis=1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(found, axis=1)
    assert loss.rows == len(SAMPLE)
    assert loss.cosine == pytest.approx(cosines.mean(), abs=1e-6)
    assert loss.least_cosine == pytest.approx(cosines.min(), abs=1e-6)
    # 8 bits are not float32, and not noise either.
    assert 0.9 < loss.least_cosine < 0.999999
    assert 0.5 < loss.overlap <= 1
    assert loss.bytes < loss.float_bytes
    assert f"cosine {loss.cosine:.4f}" in str(loss)


def test_another_contract_in_the_same_space(
    made: tuple[Path, encoders.EncoderContract, encoders.Int8Loss], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, contract, _ = made
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    with encoders.load(folder / "bert") as exact, encoders.load(folder / "small") as rounded:
        assert rounded.contract == contract
        assert (contract.name, contract.version) == ("words", 3)
        assert contract.weights_hash != exact.contract.weights_hash
        assert contract.shares_space_with(exact.contract)


def test_the_other_half_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tiny_models.clip(tmp_path / "clip")
    contract, _ = encoders.export_int8(source, tmp_path / "small", name="words", modality="text", sample=SAMPLE)
    assert contract.modality == "text"
    with encoders.load(source) as pictures:
        encoders.require_shared_space(contract, pictures.contract)


def test_convolutions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderLoadError, match=r"shipped default image: .*convolutions.*keep float32"):
        encoders.export_int8("image", tmp_path / "small", name="image", sample=[b"", b""])
    assert not list(tmp_path.iterdir())


def test_a_sample_of_nothing_is_refused(
    made: tuple[Path, encoders.EncoderContract, encoders.Int8Loss], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(made[0] / "cache"))
    with pytest.raises(EncoderLoadError, match="1 of 3 sample inputs can be encoded"):
        encoders.export_int8(made[0] / "bert", tmp_path / "small", name="words", sample=["a lamp", " ", ""])
    assert not (tmp_path / "small").exists()
