"""The contrastive job over pairs without words: media towards media of another kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

import encoders
from connector.adaptation import ContrastiveSpec, pretrain_contrastive
from connector.adaptation.locked_media import FILES, LockedMedia
from connector.adaptation.mediums import SoundMedium
from connector.adaptation.pairs import read_pairs
from connector.adaptation.spec import NewTower, PairSource, parse_spec
from connector.adaptation.towers import build_tower
from connector.errors import ConfigurationError, TrainingError
from encoders import EncoderLoadError, InvalidInputError
from encoders.base import EncodeResult
from tests.media_files import sound
from tests.unit.adaptation.conftest import COLOURS, picture

HERTZ = {"red": 150, "green": 600, "blue": 1_800, "yellow": 5_000}
Make = Callable[..., ContrastiveSpec]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 records: a sound and a sleeve, of which there are four; two rows lack one of them, two have a broken one."""
    rng = np.random.default_rng(0)
    sleeves = {colour: picture(colour, "left", rng) for colour in COLOURS}
    colours = [list(COLOURS)[row % 4] for row in range(96)]
    sounds: list[bytes | None] = [
        sound(seconds=rng.uniform(0.35, 0.7), hertz=HERTZ[colour] * rng.uniform(0.9, 1.1)) for colour in colours
    ]
    covers: list[bytes | None] = [sleeves[colour] for colour in colours]
    sounds[5], sounds[6], covers[7], covers[8] = None, b"no sound", None, b"no picture"
    path = tmp_path_factory.mktemp("records") / "records.parquet"
    columns = {"preview": pa.array(sounds, pa.binary()), "sleeve": pa.array(covers, pa.binary()), "colour": colours}
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def make(records: Path, tmp_path: Path) -> Make:
    def make(**changes: Any) -> ContrastiveSpec:
        values: dict[str, Any] = {
            "job": "contrastive",
            "out": str(tmp_path / "out"),
            "pairs": [{"path": str(records), "audio": "preview", "towards": {"image": "sleeve"}}],
            "tower": {"kind": "new_audio", "hidden_sizes": [8, 16], "depths": [1, 1], "seconds": 0.64},
            "batch_size": 24,
            "steps": 40,
            "learning_rate": 0.005,
            "validation": 0.2,
            "evaluate_every": 20,
            "device": "cpu",
        }
        return parse_spec({**values, **changes})  # type: ignore[return-value]

    return make


def test_sounds_are_drawn_towards_pictures(make: Make, records: Path) -> None:
    report = pretrain_contrastive(make(), show=False)
    # Four meanings: chance is a quarter.
    assert report.metrics["audio_to_image/recall@1"] > 0.8
    assert report.metrics["image_to_audio/recall@1"] > 0.8
    assert report.pairs + report.held_out == 92
    reasons = sorted(report.skipped)
    assert list(report.skipped.values()) == [1] * 4
    assert [reason.split(":")[0] for reason in reasons] == ["picture", "picture", "sound", "sound"]
    card = (report.folder / "README.md").read_text()
    assert "locked vectors of the image encoder `image`" in card
    assert "pairs of sound and picture" in card
    assert "column sleeve" in card
    rows = pq.read_table(records).to_pylist()[:4]
    with encoders.load(report.folder, name="heard") as audio, encoders.load("image") as image:
        assert audio.contract.shares_space_with(image.contract)
        heard, seen = audio.encode([row["preview"] for row in rows]), image.encode([row["sleeve"] for row in rows])
    assert np.argmax(heard @ seen.T, axis=1).tolist() == [0, 1, 2, 3]
    with encoders.load("text") as text:
        # The picture encoder lies in the space of words, and so does what is drawn towards it.
        assert audio.contract.shares_space_with(text.contract)


def test_going_on_is_going_on_with_the_same_encoder(make: Make, tmp_path: Path) -> None:
    short: dict[str, Any] = {"steps": 10, "checkpoint_every": 5, "weights": "float32"}
    straight = pretrain_contrastive(make(out=str(tmp_path / "straight"), **short), show=False)
    pretrain_contrastive(make(**short), until=5, show=False)
    heard = make(**short, towards_encoder=str(tmp_path / "straight/tower"))
    with pytest.raises(EncoderLoadError, match="is a tower of audio, and holds none of image"):
        pretrain_contrastive(heard, resume=True, show=False)
    build_tower(NewTower(image_size=16, hidden_sizes=(4, 8), depths=(1, 1)), 384, (), "image").save(tmp_path / "other")
    other = make(**short, towards_encoder=str(tmp_path / "other"))
    with pytest.raises(ConfigurationError, match="another spec"):
        pretrain_contrastive(other, resume=True, show=False)
    resumed = pretrain_contrastive(make(**short), resume=True, show=False)
    assert resumed.metrics == straight.metrics
    first, second = (load_file(report.folder / "model.safetensors") for report in (straight, resumed))
    assert all(np.array_equal(value, second[name]) for name, value in first.items())


def test_a_row_that_is_lost_is_other_data(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another row of the same catalogue may be out of reach for once: then batches and rows held out are others."""
    pretrain_contrastive(make(steps=10, checkpoint_every=5), until=5, show=False)
    decode = SoundMedium.decode
    left = iter([None, *[decode] * 200])

    def once_broken(medium: SoundMedium, content: bytes) -> Any:
        if next(left) is None:
            raise InvalidInputError("took longer to decode than 60 seconds")
        return decode(medium, content)

    with monkeypatch.context() as patch:
        patch.setattr(SoundMedium, "decode", once_broken)
        with pytest.raises(ConfigurationError, match="the list of usable rows does not hold what it held then"):
            pretrain_contrastive(make(steps=10, checkpoint_every=5), resume=True, show=False)
    pretrain_contrastive(make(steps=10, checkpoint_every=5), resume=True, show=False)


class Counting:
    """An encoder that says how often it is asked for what."""

    def __init__(self) -> None:
        self.asked: list[list[bytes]] = []
        with encoders.load("image", isolate=False) as encoder:
            self.contract = encoder.contract

    def encode_tolerant(self, items: Sequence[bytes], side: str = "document") -> EncodeResult:
        self.asked.append(list(items))
        vectors = np.ones((len(items), self.contract.dimension), np.float32)
        return EncodeResult(vectors, {row: "unreadable" for row, item in enumerate(items) if item == b"bad"})

    def close(self) -> None:
        return


def test_a_file_is_encoded_once_however_often_it_comes(tmp_path: Path) -> None:
    covers = [b"one", b"two", b"bad", b"one"] * 20
    path = tmp_path / "rows.parquet"
    table = {"audio": pa.array([b"x"] * 80, pa.binary()), "cover": pa.array(covers, pa.binary())}
    pq.write_table(pa.table(table), path)
    encoder: Any = Counting()
    source = PairSource(path=str(path), audio="audio", towards={"image": "cover"})  # type: ignore[arg-type]
    pairs = read_pairs(
        (source,),
        lambda content: np.zeros((1,), np.float32),
        (1,),
        tmp_path / "cache",
        dtype=np.float32,
        others=LockedMedia(encoder),
    )
    assert encoder.asked == [[b"one", b"two", b"bad"]]
    assert len(covers) > FILES
    assert len(pairs) == 60
    assert [ids.tolist() for ids in pairs.other_ids[:3]] == [[0], [1], [0]]
    # Rows with the same sleeve are never each other's negatives.
    assert pairs.groups[0] == pairs.groups[2] != pairs.groups[1]
    assert pairs.skipped == {"picture: unreadable": 20}


def test_what_cannot_be_learned_from_is_one_line(make: Make, records: Path, tmp_path: Path) -> None:
    table = pq.read_table(records)
    first = table["sleeve"][0].as_py()
    path = tmp_path / "one.parquet"
    pq.write_table(table.set_column(1, "sleeve", pa.array([first] * len(table), pa.binary())), path)
    pairs = [{"path": str(path), "audio": "preview", "towards": {"image": "sleeve"}}]
    with pytest.raises(TrainingError, match=r"have the same picture \(column sleeve\); there is nothing to tell apart"):
        pretrain_contrastive(make(pairs=pairs), show=False)
    pairs[0]["towards"] = {"image": "cover"}
    with pytest.raises(TrainingError, match="no column 'cover'; it has preview, sleeve, colour"):
        pretrain_contrastive(make(pairs=pairs), show=False)
    pairs[0]["towards"] = {"image": "colour"}
    with pytest.raises(TrainingError, match="not one usable pair of sound and picture: picture: "):
        pretrain_contrastive(make(pairs=pairs), show=False)
    with pytest.raises(EncoderLoadError, match="'text' does not encode image"):
        pretrain_contrastive(make(towards_encoder="text"), show=False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pairs": [{"path": "a", "audio": "a"}]}, "a source needs words, as templates over its columns, or else"),
        ({"pairs": [{"path": "a", "towards": {}}]}, "name one column, as image or audio or video"),
        ({"pairs": [{"path": "a", "towards": {"audio": "a", "video": "b"}}]}, "name one column"),
        ({"pairs": [{"path": "a", "audio": "a", "towards": {"audio": "b"}}]}, "these are sounds already"),
        ({"pairs": [{"path": "a", "audio": "a", "towards": {"image": "a"}}]}, "column 'a' is what the rows themselves"),
        ({"pairs": [{"path": "a", "audio": "a", "text": ["{b}"], "towards": {"image": "b"}}]}, "text: rows are drawn"),
        ({"text_encoder": "elsewhere"}, "text_encoder: pairs are drawn towards pictures, not words; leave it out"),
        ({"free_text": {}}, "free_text: pairs are drawn towards pictures"),
        (
            {"pairs": [{"path": "a", "audio": "a", "text": ["{b}"]}], "towards_encoder": "image"},
            "towards_encoder: no pairs have `towards`",
        ),
        (
            {
                "pairs": [
                    {"path": "a", "audio": "a", "text": ["{b}"]},
                    {"path": "a", "audio": "a", "towards": {"image": "b"}},
                ]
            },
            "pairs are drawn towards picture and words; give each kind to a job of its own",
        ),
    ],
)
def test_specs_that_do_not_fit_together(make: Make, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        make(**changes)
    assert parse_spec(make().model_dump(mode="json")) == make()
