from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import load_file

import encoders
from connector.adaptation import ContrastiveSpec, load_spec, pretrain_contrastive
from connector.adaptation.publishing import require_target
from connector.cli import run
from connector.errors import ConfigurationError, ConnectorError, TrainingError
from encoders.contract import find_aligned
from tests.unit.encoders import tiny_models

SpecMaker = Callable[..., ContrastiveSpec]


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.bert(tmp_path_factory.mktemp("models") / "bert")


def weights(folder: Path) -> dict[str, np.ndarray]:
    return dict(load_file(folder / "model.safetensors"))


def test_both_towers_learn_and_end_in_one_space_of_their_own(
    make_spec: SpecMaker, pairs_file: Path, bert: Path
) -> None:
    spec = make_spec(text_encoder=str(bert), free_text={"rate": 1.0}, steps=150, evaluate_every=50)
    report = pretrain_contrastive(spec, show=False)
    # Sixteen meanings: chance is 1/16. The text encoder began with random weights.
    assert report.metrics["image_to_text/recall@1"] > 0.4
    assert report.text is not None
    rows = pq.read_table(pairs_file).slice(0, 16).to_pylist()
    with (
        encoders.load(report.folder, name="halves") as image,
        encoders.load(report.text, name="words") as text,
        encoders.load(bert) as before,
    ):
        assert image.contract.shares_space_with(text.contract)
        assert not image.contract.shares_space_with(before.contract)
        assert not text.contract.shares_space_with(before.contract)
        pictures = image.encode([row["image"] for row in rows])
        words = text.encode([f"{row['colour']} on the {row['form']}" for row in rows])
    assert np.mean(np.argmax(pictures @ words.T, axis=1) == np.arange(16)) > 0.4
    for folder, said in ((report.folder, "which learned along"), (report.text, "`bert`, trained further (rate 1.0")):
        card = (folder / "README.md").read_text()
        assert said in card
        assert str(bert.parent) not in card


def test_a_text_encoder_that_does_not_learn_stays_locked(make_spec: SpecMaker, bert: Path) -> None:
    report = pretrain_contrastive(make_spec(text_encoder=str(bert), steps=2), show=False)
    assert report.text is None
    assert not (report.folder.parent / "text").exists()
    with encoders.load(report.folder, name="halves") as image:
        # Under whatever name that encoder is published.
        for name in ("bert", "words"):
            with encoders.load(bert, name=name, version=3) as text:
                assert find_aligned(image.contract, [text.contract], "text") == text.contract


def test_resumed_is_undisturbed(make_spec: SpecMaker, bert: Path) -> None:
    how = {"text_encoder": str(bert), "free_text": {"rate": 0.5}, "steps": 24, "checkpoint_every": 8}
    straight = pretrain_contrastive(make_spec("straight", **how), show=False)
    broken = make_spec("broken", **how)
    pretrain_contrastive(broken, until=10, show=False)
    resumed = pretrain_contrastive(broken, resume=True, show=False)
    assert resumed.text is not None
    assert straight.text is not None
    for first, second in ((straight.folder, resumed.folder), (straight.text, resumed.text)):
        before, after = weights(first), weights(second)
        assert all(np.array_equal(before[name], after[name]) for name in before | after)


def test_the_rate_of_words_is_a_share_and_what_is_frozen_stays(make_spec: SpecMaker, bert: Path) -> None:
    def moved(out: str, rate: float, *freeze: str) -> dict[str, float]:
        free = {"rate": rate, "freeze": freeze}
        spec = make_spec(out, text_encoder=str(bert), free_text=free, steps=3, weights="float32")
        report = pretrain_contrastive(spec, show=False)
        assert report.text is not None
        before, after = weights(bert), weights(report.text)
        return {name: float(np.abs(before[name] - after[name]).max()) for name in before}

    fast, slow = moved("fast", 1.0), moved("slow", 0.01)
    name = "encoder.layer.0.output.dense.weight"
    # AdamW's first steps are as long as the rate.
    assert 20 < fast[name] / slow[name] < 500
    still = moved("still", 1.0, "backbone.embeddings.*")
    assert still["embeddings.word_embeddings.weight"] == 0 < still[name]


def test_what_was_learned_is_learned_from_again(make_spec: SpecMaker, bert: Path) -> None:
    first = pretrain_contrastive(make_spec("first", text_encoder=str(bert), free_text={}, steps=2), show=False)
    assert first.text is not None
    second = pretrain_contrastive(make_spec("second", text_encoder=str(first.text), steps=2), show=False)
    with encoders.load(second.folder, name="a") as image, encoders.load(first.text, name="b") as text:
        assert image.contract.shares_space_with(text.contract)


def test_an_exported_encoder_cannot_learn(make_spec: SpecMaker, bert: Path, tmp_path: Path) -> None:
    encoders.export(bert, tmp_path / "exported", name="words")
    spec = make_spec(text_encoder=str(tmp_path / "exported"), free_text={})
    with pytest.raises(ConfigurationError, match="name the model folder or the Hugging Face id it was exported from"):
        pretrain_contrastive(spec, show=False)


@pytest.mark.parametrize(
    ("freeze", "reason"),
    [
        (["backbone.nowhere"], "no parameter is named 'backbone.nowhere'"),
        # All that is left then is a pooler whose output is not used.
        (["backbone.embeddings.*", "backbone.encoder.*"], "nothing is left to learn"),
    ],
)
def test_patterns_that_leave_nothing(make_spec: SpecMaker, bert: Path, freeze: list[str], reason: str) -> None:
    spec = make_spec(text_encoder=str(bert), free_text={"freeze": freeze})
    with pytest.raises(TrainingError, match=rf"free_text.freeze: {reason}"):
        pretrain_contrastive(spec, show=False)


def test_a_folder_that_is_someone_elses_is_left_alone(make_spec: SpecMaker, bert: Path, tmp_path: Path) -> None:
    spec = make_spec(text_encoder=str(bert), free_text={}, steps=2)
    kept = Path(spec.out, "text", "notes.txt")
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    with pytest.raises(ConfigurationError, match="is there already and holds no text encoder of this job"):
        pretrain_contrastive(spec, show=False)
    assert kept.read_text() == "mine"
    shutil.rmtree(kept.parent)
    report = pretrain_contrastive(spec, show=False)
    assert f"written to {report.text} and {report.folder}" in str(report)
    again = make_spec(text_encoder=str(report.text), free_text={}, steps=2)
    with pytest.raises(ConfigurationError, match="would replace the one it begins with"):
        pretrain_contrastive(again, show=False)


def test_names_are_checked_before_training(make_spec: SpecMaker, bert: Path, tmp_path: Path) -> None:
    spec = make_spec(text_encoder=str(bert), free_text={})
    with pytest.raises(ConnectorError, match="_text"):
        require_target(tmp_path / "models", spec, "x" * 97)


def test_the_text_half_of_x_clip_cannot_learn_alone(make_spec: SpecMaker, tmp_path: Path) -> None:
    folder = tiny_models.save_model(tmp_path / "xclip", tiny_models.video_models()["xclip"]())
    tiny_models.save_tokenizer(folder, longest=16)
    with pytest.raises(TrainingError, match="cannot be trained alone"):
        pretrain_contrastive(make_spec(text_encoder=str(folder), free_text={}), show=False)


@pytest.mark.parametrize("free", [{"free_text": {}}, {}])
def test_words_of_which_the_tokenizer_keeps_nothing(
    make_spec: SpecMaker, bert: Path, pairs_file: Path, free: dict[str, object]
) -> None:
    path = pairs_file.parent / "silent.parquet"
    table = pq.read_table(pairs_file).slice(0, 8)
    pq.write_table(table.append_column("word", pa.array(["red", "\u200b"] * 4)), path)
    spec = make_spec(pairs=[{"path": str(path), "text": ["{word}"]}], text_encoder=str(bert), **free)
    with pytest.raises(TrainingError, match=r"words '.u200b': empty text \(nothing in it that the tokenizer keeps"):
        pretrain_contrastive(spec, show=False)


def test_a_relative_text_encoder_counts_from_the_specs_folder(tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "text").mkdir()
    file = tmp_path / "job.yaml"
    for source, found in (("bert", str(tmp_path / "bert")), ("text", "text"), ("org/model", "org/model")):
        values = {"out": "out", "pairs": [{"path": "p", "text": ["{a}"]}], "steps": 1, "text_encoder": source}
        file.write_text(yaml.safe_dump(values))
        assert load_spec(file).text_encoder == found


def test_both_are_published(
    make_spec: SpecMaker, bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(Path(__file__).parents[3] / "feature_repo", shop, ignore=shutil.ignore_patterns("data", ".*"))
    spec = make_spec(text_encoder=str(bert), free_text={}, steps=2)
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(json.loads(spec.model_dump_json())))
    assert run(["pretrain", str(file), "--publish", "goods", "--repo", str(shop), "--json"]) == 0
    published = json.loads(capsys.readouterr().out)["published"]
    assert [label.split(" ")[0] for label in published] == ["goods_text/1", "goods/1"]
    taken = tmp_path / "triton_models"
    image, text = (encoders.EncoderFolder.open(taken / name / "1").contract for name in ("goods", "goods_text"))
    encoders.require_shared_space(image, text)
    assert run(["pretrain", str(file), "--publish", "goods_text", "--repo", str(shop)]) == 2
    assert "goods_text/1 encodes text, job contrastive ends in an encoder of image" in capsys.readouterr().err
