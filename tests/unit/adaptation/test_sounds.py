"""The contrastive job over sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import encoders
from connector.adaptation import metrics, pretrain_contrastive
from connector.adaptation.augment_sounds import augment_sounds
from connector.adaptation.mediums import SoundMedium, medium_of
from connector.adaptation.sound_spec import SoundAugmentation
from connector.adaptation.spec import parse_spec
from connector.errors import ConfigurationError, TrainingError
from encoders.towers.audio import AudioTower
from examples.demo.sounds import captioned_sounds
from tests.media_files import sound
from tests.unit.encoders import tiny_models

STILL = SoundAugmentation(loudness=0, bands=0, mask=0)


@pytest.fixture(scope="module")
def sounds_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 sounds of three quite different kinds."""
    path = tmp_path_factory.mktemp("sounds") / "sounds.parquet"
    names = [("low hum", 150), ("middle note", 900), ("high whistle", 4_000)] * 40
    rng = np.random.default_rng(0)
    audio = [sound(seconds=rng.uniform(0.35, 0.7), hertz=hertz * rng.uniform(0.9, 1.1)) for _, hertz in names]
    pq.write_table(pa.table({"name": [n for n, _ in names], "audio": pa.array(audio, pa.binary())}), path)
    return path


@pytest.fixture
def bare(tmp_path: Path) -> AudioTower:
    """A tower over waves that takes no mask."""
    torch.manual_seed(0)
    return AudioTower.from_folder(tiny_models.audio(tmp_path / "bare", "wav2vec2"))


def spec_of(path: Path, out: Path, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "out": str(out),
        "pairs": [{"path": str(path), "audio": "audio", "text": ["a {name}", "{name}"], "group": ["name"]}],
        "tower": {"kind": "new_audio", "hidden_sizes": [8, 16], "depths": [1, 1], "seconds": 0.64},
        "batch_size": 24,
        "steps": 30,
        "learning_rate": 0.005,
        "validation": 0.2,
        "evaluate_every": 15,
        "device": "cpu",
    }
    return parse_spec({**values, **changes})


def test_a_job_of_seconds_learns_and_its_encoder_loads(sounds_file: Path, tmp_path: Path) -> None:
    report = pretrain_contrastive(spec_of(sounds_file, tmp_path / "out"), show=False)
    # Three meanings: chance is a third.
    assert report.metrics["audio_to_text/recall@1"] > 0.8
    assert (report.pairs, report.held_out) == (96, 24)
    assert "audio tower" in (report.folder / "README.md").read_text()
    rows = pq.read_table(sounds_file).slice(0, 6).to_pylist()
    with encoders.load(report.folder, name="pitch") as audio, encoders.load("text") as text:
        assert audio.contract.modality == "audio"
        assert audio.contract.shares_space_with(text.contract)
        heard = audio.encode([row["audio"] for row in rows])
        words = text.encode([f"a {row['name']}" for row in rows[:3]])
    assert np.argmax(heard @ words.T, axis=1).tolist() == [0, 1, 2, 0, 1, 2]


def test_a_tower_is_trained_further(sounds_file: Path, tmp_path: Path) -> None:
    AudioTower.small(20, widths=(8, 16), depths=(1, 1)).save(tmp_path / "tower")
    spec = spec_of(
        sounds_file, tmp_path / "out", tower={"kind": "pretrained", "source": str(tmp_path / "tower")}, steps=1
    )
    report = pretrain_contrastive(spec, show=False)
    assert AudioTower.from_folder(report.folder).dimension == 384
    smaller = {"kind": "pretrained", "source": str(tmp_path / "tower"), "train_size": 64}
    with pytest.raises(ConfigurationError, match="train_size 64: the tower takes sounds"):
        pretrain_contrastive(spec_of(sounds_file, tmp_path / "other", tower=smaller), show=False)


def test_a_pretrained_tower_is_told_how_much_of_a_sound_it_hears_and_how_it_is_changed(
    sounds_file: Path, tmp_path: Path
) -> None:
    tower = AudioTower.small(20, widths=(8, 16), depths=(1, 1))
    source = str(tower.save(tmp_path / "tower"))

    def told(**changes: Any) -> Any:
        return spec_of(
            sounds_file, tmp_path / "out", tower={"kind": "pretrained", "source": source, **changes}, steps=1
        )

    def heard(**changes: Any) -> Any:
        return medium_of(told(**changes), tower, torch.device("cpu"))

    assert (heard().shape[0], heard(seconds=10).shape[0], heard(seconds=0.64).shape[0]) == (400, 1000, 64)
    still, rows = heard(augmentation={"loudness": 0, "bands": 0, "mask": 0}), np.ones((4, 400, 65), np.float16)
    changed = still.inputs(rows, torch.Generator().manual_seed(0))[0]
    assert torch.equal(changed, still.inputs(rows, None)[0])
    assert not torch.equal(heard().inputs(rows, torch.Generator().manual_seed(0))[0], changed)
    with pytest.raises(ConfigurationError, match=r"tower\.seconds 10.1: the encoder hears the first 10 s"):
        heard(seconds=10.1)
    report = pretrain_contrastive(told(seconds=0.64), show=False)
    assert "seconds 0.64" in (report.folder / "README.md").read_text()
    report = pretrain_contrastive(told(), show=False)
    assert "seconds up to 4)" in (report.folder / "README.md").read_text()


def test_fields_of_sounds_are_refused_where_nothing_heeds_them(
    sounds_file: Path, tmp_path: Path, bare: AudioTower
) -> None:
    def told(pairs: dict[str, Any], **changes: Any) -> Any:
        tower = {"kind": "pretrained", "source": "x", **changes}
        return spec_of(sounds_file, tmp_path, tower=tower, pairs=[{"path": "p", "text": ["{x}"], **pairs}])

    with pytest.raises(ConfigurationError, match=r"tower\.seconds: is of sounds, and the job is over pictures"):
        told({"image": "image"}, seconds=2)
    with pytest.raises(ConfigurationError, match=r"tower\.augmentation: is of sounds, and the job is over films"):
        told({"video": "film"}, augmentation={})
    views = {"job": "views", "out": "o", "pictures": [{"path": "p"}], "steps": 1}
    with pytest.raises(ConfigurationError, match=r"tower\.seconds: is of sounds, and the job is over pictures"):
        parse_spec({**views, "tower": {"kind": "pretrained", "source": "x", "seconds": 2}})
    with pytest.raises(ConfigurationError, match=r"tower\.augmentation: .* takes the wave itself; leave it out"):
        medium_of(told({"audio": "audio"}, augmentation={"mask": 0}), bare, torch.device("cpu"))


def test_a_tower_without_a_mask_is_validated_on_what_is_served(
    bare: AudioTower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = (0.5, 0.9, 0.5, 0.7)
    files = [sound(seconds=seconds, hertz=300 * (row + 1)) for row, seconds in enumerate(lengths)]
    path = tmp_path / "sounds.parquet"
    pq.write_table(pa.table({"audio": pa.array(files, pa.binary()), "name": list("abcd")}), path)
    source = bare.save(tmp_path / "tower")
    pairs = [{"path": str(path), "audio": "audio", "text": ["{name}"]}]
    tower = {"kind": "pretrained", "source": str(source), "seconds": 1.0}
    # Nothing is held out: the figures are of all rows, by the state that is kept.
    spec = spec_of(
        path, tmp_path / "out", tower=tower, pairs=pairs, steps=1, validation=0, batch_size=4, weights="float32"
    )
    compared: list[torch.Tensor] = []
    recall = metrics.retrieval_recall

    def watched(queries: torch.Tensor, *rest: Any) -> float:
        compared.append(queries)
        return recall(queries, *rest)

    monkeypatch.setattr(metrics, "retrieval_recall", watched)
    report = pretrain_contrastive(spec, show=False)
    # Last of all sounds to words, then words to sounds.
    found = compared[-2].numpy()
    with encoders.load(report.folder, isolate=False) as encoder:
        served = encoder.encode(files)
    # Half precision is all that differs.
    assert (found * served).sum(axis=1).min() > 0.99999


def test_rows_that_cannot_be_heard_are_counted(sounds_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"audio": pa.array([b"no sound", None], pa.binary()), "name": ["a", "b"]}), path)
    with pytest.raises(TrainingError, match=r"not one usable pair of sound and words: sound: "):
        pretrain_contrastive(spec_of(path, tmp_path / "out"), show=False)


def test_towers_and_pairs_are_of_one_medium(sounds_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="takes image"):
        spec_of(sounds_file, tmp_path, tower={"kind": "new"})
    pairs = [{"path": "a", "text": ["{x}"]}, {"path": "b", "audio": "audio", "text": ["{x}"]}]
    with pytest.raises(ConfigurationError, match="audio and image"):
        spec_of(sounds_file, tmp_path, pairs=pairs)
    with pytest.raises(ConfigurationError, match="one length"):
        spec_of(sounds_file, tmp_path, tower={"kind": "new_audio", "depths": [1]})


def test_what_is_kept_is_what_the_encoder_prepares(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tower = AudioTower.small(8, widths=(4, 8), depths=(1, 1)).eval()
    medium = SoundMedium(tower, 0.64, STILL, torch.device("cpu"))
    content = sound(seconds=0.64)
    values, mask = medium.inputs(medium.decode(content)[None], None)
    assert values.shape[1:] == (medium.shape[0], 64)
    with encoders.load(_saved(tower, tmp_path), isolate=False) as encoder:
        wanted = encoder.encode([content])
    with torch.no_grad():
        found = tower(values, mask).numpy()
    # Half precision is all that differs.
    assert (found * wanted).sum() > 0.9999
    short, mask = medium.inputs(medium.decode(sound(seconds=0.33))[None], None)
    assert (short.shape, int(mask.sum())) == (values.shape, 33)


def _saved(tower: AudioTower, folder: Path) -> Path:
    return tower.save(folder / "tower")


def test_the_medium_follows_the_tower(sounds_file: Path, tmp_path: Path) -> None:
    tower = AudioTower.small(8, widths=(4, 8), depths=(1, 1))
    assert medium_of(spec_of(sounds_file, tmp_path), tower, torch.device("cpu")).name == "audio"


def test_changes_are_those_that_were_asked_for() -> None:
    values = torch.rand(6, 20, 16, generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(20) < 15).long().expand(6, 20)

    def changed(how: SoundAugmentation, seed: int = 0) -> torch.Tensor:
        return augment_sounds(values, mask, how, 0.1, -1.0, torch.Generator().manual_seed(seed))

    torch.testing.assert_close(changed(STILL), values)
    louder = changed(SoundAugmentation(loudness=6, bands=0, mask=0)) - values
    assert louder.abs().max() <= 0.6 + 1e-6
    torch.testing.assert_close(louder.amax(dim=(1, 2)), louder.amin(dim=(1, 2)))
    shifted = changed(SoundAugmentation(loudness=0, bands=3, mask=0))
    for before, after in zip(values, shifted, strict=True):
        assert any(torch.equal(after[:, 4:12], before[:, 4 + by : 12 + by]) for by in range(-3, 4))
    masked = changed(SoundAugmentation(loudness=0, bands=0, mask=0.4))
    silent = (masked == -1.0).float().mean()
    assert 0.02 < silent < 0.65
    assert torch.equal(changed(SoundAugmentation(), 3), changed(SoundAugmentation(), 3))
    assert not torch.equal(changed(SoundAugmentation(), 3), changed(SoundAugmentation(), 4))


def test_made_sounds_are_the_same_for_the_same_seed() -> None:
    first, again, other = captioned_sounds(3, 10), captioned_sounds(3, 10), captioned_sounds(4, 10)
    assert first == again
    assert first != other
    assert set(first["kind"].to_pylist()) == {"tone", "sweep", "melody", "noise", "beat"}
