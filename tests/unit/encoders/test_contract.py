from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders import ContractMismatchError, EncoderContract, EncoderLoadError, external_contract, require_shared_space
from encoders.contract import find_aligned

hashes = st.text("0123456789abcdef", min_size=16, max_size=64)
contracts = st.builds(
    EncoderContract,
    name=st.text(min_size=1, max_size=20),
    version=st.integers(1, 99),
    modality=st.sampled_from(["text", "image", "audio", "video", "sequence", "fused"]),
    dimension=st.integers(1, 4096),
    metric=st.sampled_from(["COSINE", "IP", "L2"]),
    pooling=st.sampled_from(["mean", "cls", "external"]),
    normalized=st.booleans(),
    max_input=st.integers(0, 9999),
    weights_hash=hashes,
    preprocessing_hash=hashes,
    aligned_with=st.lists(hashes, max_size=3).map(tuple),
)


@given(contracts)
def test_json_form_gives_the_contract_back(contract: EncoderContract) -> None:
    again = EncoderContract.from_json(contract.to_json())
    assert again == contract
    assert again.hash == contract.hash
    assert len(contract.hash) == 16


@given(contracts, st.integers(1, 99))
def test_any_changed_field_changes_the_hash(contract: EncoderContract, step: int) -> None:
    assert replace(contract, dimension=contract.dimension + step).hash != contract.hash
    assert replace(contract, weights_hash=contract.weights_hash + "0").hash != contract.hash


@given(contracts, contracts)
def test_sharing_a_space_is_mutual(first: EncoderContract, second: EncoderContract) -> None:
    assert first.shares_space_with(first)
    assert first.shares_space_with(second) == second.shares_space_with(first)


@given(contracts)
def test_a_renamed_contract_stays_in_its_space(contract: EncoderContract) -> None:
    renamed = contract.renamed("other", 100)
    assert renamed.hash != contract.hash
    assert renamed.shares_space_with(contract)
    assert contract.renamed(contract.name, contract.version) is contract


def make(name: str, modality: str = "text", aligned_with: tuple[str, ...] = ()) -> EncoderContract:
    return replace(
        external_contract(name, version=1, dimension=4, modality="text"),
        modality=modality,
        aligned_with=aligned_with,
    )


def test_an_image_space_aligned_with_text_may_be_asked_by_it_and_by_its_renamed_form() -> None:
    text = make("text")
    image = make("image", "image", (text.hash,))
    require_shared_space(image, text)
    require_shared_space(text.renamed("words", 3), image)
    assert find_aligned(image, [make("other"), text], "text") == text
    assert find_aligned(image, [make("other")], "text") is None


def test_strangers_do_not_share_a_space() -> None:
    first, second = make("first"), make("second")
    with pytest.raises(ContractMismatchError) as caught:
        require_shared_space(first, second, where="space item_title")
    for part in ("item_title", first.label, second.label):
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["", "[", "{}", '{"name": "x"}', '{"unknown": 1}', "[]", "3", '"text"', "null"])
def test_what_is_no_contract_is_refused(text: str) -> None:
    with pytest.raises(EncoderLoadError):
        EncoderContract.from_json(text)


@pytest.mark.parametrize("change", [{"version": 0}, {"dimension": 0}, {"modality": "smell"}, {"metric": "HAMMING"}])
def test_senseless_fields_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(EncoderLoadError):
        replace(make("text"), **change)


@pytest.mark.parametrize("change", [{"version": "1"}, {"dimension": None}, {"aligned_with": 3}, {"name": 5}])
def test_fields_of_another_type_are_refused(change: dict[str, object]) -> None:
    import json

    record = {**json.loads(make("text").to_json()), **change}
    with pytest.raises(EncoderLoadError):
        EncoderContract.from_dict(record)
