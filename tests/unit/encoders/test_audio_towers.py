"""Audio towers held to what transformers makes of the same waves, and their graphs to the towers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import encoders
from encoders import EncoderLoadError
from encoders.source import modality_of
from encoders.towers.audio import AudioTower
from encoders.towers.folder import quiet
from tests.media_files import sound
from tests.unit.encoders import tiny_models

FAMILIES = {
    "wav2vec2": ("wave", "mean"),
    "wav2vec2_layer_norm": ("wave", "mean"),
    "wav2vec2_ctc": ("wave", "mean"),
    "hubert": ("wave", "mean"),
    "wavlm": ("wave", "mean"),
    "ast": ("ast", "pooler"),
    "whisper": ("whisper", "mean"),
    "clap": ("clap", "projection"),
    "clap_audio": ("clap", "projection"),
}
# Each family goes through the exporter, of wav2vec 2.0 one of its two kinds: it takes seconds.
EXPORTED = ("wav2vec2_layer_norm", "hubert", "wavlm", "ast", "whisper", "clap")
SOUNDS = [sound(seconds=s, hertz=h) for s, h in ((0.3, 300), (0.7, 700), (1.1, 500))]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("audio")
    return {name: tiny_models.audio(root / name, name) for name in FAMILIES}


def noise(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * rate)).astype(np.float32)


def vector(tower: AudioTower, samples: np.ndarray) -> torch.Tensor:
    row = tower.preprocessing.inputs(samples)
    with torch.no_grad():
        return tower(*(torch.from_numpy(row[name])[None] for name in tower.preprocessing.names))


def agree(first: torch.Tensor, second: torch.Tensor, least: float = 0.9999) -> None:
    assert float(torch.nn.functional.cosine_similarity(first, second).detach().min()) >= least


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_architecture_is_loaded_saved_and_loaded_again(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    tower = AudioTower.from_folder(folders[name])
    assert (tower.family, tower.pooling) == FAMILIES[name]
    wanted = vector(tower, noise(0.6, tower.preprocessing.sample_rate))
    assert wanted.shape == (1, tower.dimension)
    tower.save(tmp_path / "tower", dtype="float16", card="# A tower\n")
    again = AudioTower.from_folder(tmp_path / "tower")
    assert (again.preprocessing, again.aligned_with) == (tower.preprocessing, tower.aligned_with)
    agree(vector(again, noise(0.6, tower.preprocessing.sample_rate)), wanted, 0.999)
    assert modality_of(tmp_path / "tower") == "audio"
    assert (tmp_path / "tower" / "README.md").read_text() == "# A tower\n"


@pytest.mark.parametrize("name", EXPORTED)
def test_graphs_give_the_towers_vectors(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    contract = encoders.export(folders[name], tmp_path / "encoder", name="tiny")
    assert contract.modality == "audio"
    with (
        encoders.load(tmp_path / "encoder") as served,
        encoders.load(folders[name], name="tiny", runtime="torch", isolate=False) as reference,
    ):
        assert served.contract == reference.contract == contract
        found, wanted = served.encode(SOUNDS), reference.encode(SOUNDS)
    assert ((found * wanted).sum(axis=1) >= 0.9999).all()


@pytest.mark.parametrize("layer_norm", [False, True])
def test_waves_agree_with_wav2vec2_and_its_extractor(layer_norm: bool, folders: dict[str, Path]) -> None:
    name = "wav2vec2_layer_norm" if layer_norm else "wav2vec2"
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=layer_norm)
    with quiet():
        model = transformers.Wav2Vec2Model.from_pretrained(folders[name]).eval()
    samples = noise(0.63, 16_000)
    with torch.no_grad():
        wanted = model(**extractor(samples, sampling_rate=16_000, return_tensors="pt")).last_hidden_state.mean(dim=1)
    agree(vector(AudioTower.from_folder(folders[name]), samples), wanted)


@pytest.mark.filterwarnings("ignore:At least one mel filter:UserWarning")
def test_spectrograms_agree_with_ast_and_its_extractor(folders: dict[str, Path]) -> None:
    extractor = transformers.ASTFeatureExtractor(max_length=64)
    with quiet():
        model = transformers.ASTModel.from_pretrained(folders["ast"]).eval()
    tower = AudioTower.from_folder(folders["ast"])
    for seconds in (0.3, 0.655):
        samples = noise(seconds, 16_000)
        inputs = extractor(samples, sampling_rate=16_000, return_tensors="pt")
        found = tower.preprocessing.inputs(samples)["features"]
        np.testing.assert_allclose(found, inputs["input_values"][0].numpy(), atol=2e-3)
        with torch.no_grad():
            agree(vector(tower, samples), model(**inputs).pooler_output)


def test_spectrograms_agree_with_whisper_and_its_extractor(folders: dict[str, Path]) -> None:
    extractor = transformers.WhisperFeatureExtractor(chunk_length=2)
    with quiet():
        model = transformers.WhisperModel.from_pretrained(folders["whisper"]).eval()
    tower = AudioTower.from_folder(folders["whisper"])
    samples = noise(2.0, 16_000)
    features = extractor(samples, sampling_rate=16_000, return_tensors="pt")["input_features"]
    found = tower.preprocessing.inputs(samples)["features"]
    np.testing.assert_allclose(found.T, features[0].numpy(), atol=2e-3)
    with torch.no_grad():
        agree(vector(tower, samples), model.encoder(features).last_hidden_state.mean(dim=1))


@pytest.mark.parametrize("seconds", [0.7, 2.0, 10.0])
def test_spectrograms_agree_with_clap_and_its_extractor(seconds: float, folders: dict[str, Path]) -> None:
    extractor = transformers.ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad")
    with quiet():
        model = transformers.ClapModel.from_pretrained(folders["clap"]).eval()
    tower = AudioTower.from_folder(folders["clap"])
    samples = noise(seconds, 48_000)
    inputs = extractor(samples, sampling_rate=48_000, return_tensors="pt")
    found = tower.preprocessing.inputs(samples)["features"]
    np.testing.assert_allclose(found, inputs["input_features"][0, 0].numpy(), atol=2e-2)
    with torch.no_grad():
        agree(vector(tower, samples), model.get_audio_features(inputs["input_features"]).pooler_output)


def test_both_towers_of_clap_share_a_space_by_name(folders: dict[str, Path]) -> None:
    assert AudioTower.from_folder(folders["clap"]).aligned_with
    assert AudioTower.from_folder(folders["clap_audio"]).aligned_with == ()


@pytest.mark.parametrize("name", ["wav2vec2_layer_norm", "whisper"])
def test_silence_after_a_sound_changes_little_where_the_network_is_told_of_it(
    name: str, folders: dict[str, Path]
) -> None:
    tower = AudioTower.from_folder(folders[name])
    assert tower.preprocessing.mask
    row = tower.preprocessing.inputs(noise(0.6, 16_000))
    assert 0 < row["mask"].sum() < len(row["mask"])


def test_the_small_tower_ignores_its_filling(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tower = AudioTower.small(12, widths=(4, 8, 8, 8)).eval()
    assert tower.dimension == 12
    samples = noise(0.9, 16_000)
    row = tower.preprocessing.inputs(samples)
    assert row["features"].shape[0] % 32 == 0
    longer = {key: np.pad(value, ((0, 64), (0, 0))[: value.ndim]) for key, value in row.items()}
    with torch.no_grad():
        wide = tower(torch.from_numpy(longer["features"])[None], torch.from_numpy(longer["mask"])[None])
    # Only the frames at the seam see what follows them.
    agree(vector(tower, samples), wide, 0.98)
    tower.save(tmp_path / "tower")
    contract = encoders.export(tmp_path / "tower", tmp_path / "encoder", name="small")
    assert (contract.dimension, contract.max_input) == (12, 9_920)
    with encoders.load(tmp_path / "encoder") as encoder:
        found = encoder.encode([*SOUNDS, sound("mp3", seconds=12.0)])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)


def test_models_that_do_not_hear_are_refused(vit_folder: Path, bert_folder: Path) -> None:
    for folder in (vit_folder, bert_folder):
        with pytest.raises(EncoderLoadError, match="takes no sound"):
            AudioTower.from_folder(folder)


@pytest.mark.parametrize(
    ("name", "processor"),
    [
        ("whisper", {"feature_size": 40}),
        ("ast", {"num_mel_bins": 40}),
        ("clap", {"padding": "mirror"}),
        ("clap", {"feature_size": 40}),
        ("wav2vec2", {"sampling_rate": 0}),
    ],
)
def test_a_processor_that_does_not_fit_its_model_is_refused(
    name: str, processor: dict[str, Any], tmp_path: Path
) -> None:
    folder = tiny_models.audio(tmp_path / name, name, **processor)
    with pytest.raises(EncoderLoadError) as caught:
        AudioTower.from_folder(folder)
    assert "\n" not in str(caught.value)


def test_a_record_that_does_not_fit_its_weights_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    AudioTower.from_folder(folders["ast"]).save(tmp_path / "tower")
    record = json.loads((tmp_path / "tower" / "tower.json").read_text())
    record["preprocessing"]["spectrogram"]["mels"] = 40
    (tmp_path / "tower" / "tower.json").write_text(json.dumps(record))
    with pytest.raises(EncoderLoadError, match="does not take"):
        AudioTower.from_folder(tmp_path / "tower")
