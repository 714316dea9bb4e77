from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

import encoders
from connector.adaptation import pretrain
from connector.adaptation.fusion import members as member_module
from connector.adaptation.fusion.job import _held_out, _Job
from connector.adaptation.fusion.members import MemberVectors
from connector.adaptation.fusion.named_media import media_fingerprint
from connector.adaptation.fusion.report import FusionReport
from connector.adaptation.fusion.spec import FusionSpec
from connector.adaptation.fusion.views import two_views
from connector.errors import ConfigurationError, TrainingError
from connector.ingest.catalogue import open_catalogue
from tests.unit.encoders import tiny_models

FusionMaker = Callable[..., FusionSpec]


def run(spec: FusionSpec, **how: object) -> FusionReport:
    report = pretrain(spec, show=False, **how)  # type: ignore[arg-type]
    assert isinstance(report, FusionReport)
    return report


def test_a_head_learns_what_its_members_do_not_know(make_fusion: FusionMaker, pairs_file: Path) -> None:
    report = run(make_fusion())
    assert (report.items, report.held_out, report.steps) == (192, 48, 24)
    rest = ("text_to_rest/recall@1", "image_to_rest/recall@1")
    for figure in rest:
        assert report.metrics[figure] > 0.9
        assert report.metrics[figure] > report.compared["plain mean"][figure] + 0.3
        for control in ("control: dealt to other items", "control: random vectors"):
            assert report.compared[control][figure] < 0.3
    assert report.metrics["text encoder_to_whole/recall@1"] > 0.9
    card = (report.folder / "README.md").read_text()
    assert "| image_to_rest/recall@1 |" in card
    assert str(pairs_file.parent) not in card

    rows = pq.read_table(pairs_file).slice(0, 16).to_pylist()
    words = [f"{row['colour']}\n{row['form']}" for row in rows]
    with encoders.load(report.folder, name="halves") as item, encoders.load("text") as text:
        assert item.contract.shares_space_with(text.contract)
        assert item.contract.shares_space_with(encoders.default_contract("image"))
        parts = [{"text": words_, "image": row["image"]} for words_, row in zip(words, rows, strict=True)]
        wholes = item.encode(parts)
        pictures = item.encode([{"image": row["image"]} for row in rows])
        asked = text.encode(words, "query")
    for queries in (pictures, asked):
        assert np.mean(np.argmax(queries @ wholes.T, axis=1) == np.arange(16)) > 0.8


def test_resumed_is_undisturbed_and_members_are_asked_once(
    make_fusion: FusionMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"head": "concatenation", "steps": 6, "checkpoint_every": 2, "evaluate_every": 3}
    straight = run(make_fusion("straight", **how))
    shutil.copytree(tmp_path / "straight" / "members", tmp_path / "broken" / "members")
    monkeypatch.setattr(member_module, "_make", lambda *_: pytest.fail("encoded again"))
    run(make_fusion("broken", **how), until=5)
    resumed = run(make_fusion("broken", **how), resume=True)
    assert resumed.steps == 6
    one, other = (load_file(report.folder / "model.safetensors") for report in (straight, resumed))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_groups_are_held_out_whole_and_the_better_head_is_kept(make_fusion: FusionMaker, pairs_file: Path) -> None:
    catalogue = {"path": str(pairs_file), "group": ["colour", "form"]}
    report = run(make_fusion(catalogue=catalogue, learning_rate=5.0, steps=2))
    # Three of the sixteen groups, of fifteen rows each.
    assert (report.items, report.held_out) == (195, 45)
    start = np.mean([value for name, value in report.compared["plain mean"].items() if name.endswith("recall@1")])
    assert report.metrics["recall@1"] >= start - 1e-9
    with pytest.raises(TrainingError, match="all rows are of one group"):
        _held_out(np.arange(3), np.zeros(3, np.int64), make_fusion())


def test_items_that_do_not_differ_are_one_line(make_fusion: FusionMaker, pairs_file: Path, tmp_path: Path) -> None:
    table = pq.read_table(pairs_file)
    path = tmp_path / "few.parquet"
    # Two of each of two colours: held out as groups, nothing is left, and with the same words nothing differs.
    pq.write_table(table.take([0, 16, 4, 20]), path)
    spec = make_fusion(catalogue={"path": str(path), "group": ["colour"]}, validation=0.9)
    with pytest.raises(TrainingError, match=r"validation 0\.9 leaves 0 groups \(colour\) to learn from"):
        run(spec)
    members = {"text": {"encoder": "text", "columns": ["form"]}, "image": {"encoder": "image", "columns": ["image"]}}
    with pytest.raises(TrainingError, match=r"all 3 items to learn from have the same text \(column form\)"):
        run(make_fusion(catalogue={"path": str(path)}, members=members))


def test_a_training_that_only_harms_is_dropped(make_fusion: FusionMaker) -> None:
    spec = make_fusion(catalogue={"path": "unread.parquet", "group": ["colour"]}, head="gated", hidden=4)
    vectors = np.eye(32, 384, dtype=np.float32)
    # Both members say the same of every item: the plain mean finds all of them, and nothing can do better.
    items = MemberVectors(
        vectors={"text": vectors, "image": vectors.copy()},
        present=np.ones((32, 2), bool),
        groups=np.arange(32),
        texts=np.arange(32),
        contracts=(encoders.default_contract("text"), encoders.default_contract("image")),
    )
    job = _Job(spec, items, torch.device("cpu"))
    before = {name: value.clone() for name, value in job.tower.state_dict().items()}
    for value in job.tower.state_dict().values():
        value.fill_(1.0)
    assert job.evaluate()["recall@1"] < 0.5
    assert job.keep_the_better(7) == 0
    assert all(torch.equal(before[name], value) for name, value in job.tower.state_dict().items())
    assert job.evaluate()["recall@1"] == 1.0


def test_rows_that_cannot_be_used_are_counted_and_own_members_kept(
    make_fusion: FusionMaker, pairs_file: Path, tmp_path: Path
) -> None:
    table = pq.read_table(pairs_file).slice(0, 40)
    images: list[bytes | None] = table["image"].to_pylist()
    images[3], images[5] = b"no picture", None
    colours = table["colour"].to_pylist()
    colours[5] = None
    forms = table["form"].to_pylist()
    forms[5], colours[6], forms[6] = None, None, None
    columns = {"colour": colours, "form": forms, "image": pa.array(images, pa.binary())}
    pq.write_table(pa.table(columns), tmp_path / "items.parquet")
    sources = {"text": tiny_models.bert(tmp_path / "words"), "image": tiny_models.vit(tmp_path / "pictures")}
    members = {
        "text": {"encoder": str(sources["text"]), "columns": ["colour", "form"], "name": "words", "version": 3},
        "image": {"encoder": str(sources["image"]), "columns": ["image"]},
    }
    catalogue = {"path": str(tmp_path / "items.parquet")}
    report = run(make_fusion(members=members, catalogue=catalogue, towards=None, dimension=20, steps=2))
    # Row 6 has a picture alone: of use to nobody here, and nothing is wrong with it.
    assert report.items + report.held_out == 37
    assert sum(report.skipped.values()) == 2
    assert report.skipped["nothing of the item is there"] == 1
    with encoders.load(report.folder, name="own") as item:
        assert item.contract.dimension == 20
        with encoders.load(sources["text"]) as words:
            assert not item.contract.shares_space_with(words.contract)
        assert item.encode([{"text": "red"}]).shape == (1, 20)
    assert encoders.EncoderFolder.open(report.folder / "members" / "text").contract.label.startswith("words/3 ")


def test_a_changed_picture_is_read_again(
    make_fusion: FusionMaker, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pq.read_table(pairs_file).slice(0, 8)
    (tmp_path / "shop" / "media").mkdir(parents=True)
    for row, content in enumerate(table["image"].to_pylist()):
        (tmp_path / "shop" / "media" / f"{row}.png").write_bytes(content)
    paths = [f"media/{row}.png" for row in range(8)]
    columns = {"colour": table["colour"], "form": table["form"], "image": paths}
    catalogue = tmp_path / "shop" / "items.parquet"
    pq.write_table(pa.table(columns), catalogue)
    spec = make_fusion(catalogue={"path": str(catalogue)}, steps=1)
    first = member_module.member_vectors(spec, tmp_path / "out").vectors["image"]

    with monkeypatch.context() as patch:
        patch.setattr(member_module, "_make", lambda *_: pytest.fail("encoded again"))
        member_module.member_vectors(spec, tmp_path / "out")
    (tmp_path / "shop" / "media" / "3.png").write_bytes(table["image"][4].as_py())
    second = member_module.member_vectors(spec, tmp_path / "out").vectors["image"]
    changed = ~np.isclose(first, second, atol=1e-4).all(axis=1)
    assert changed.tolist() == [row == 3 for row in range(8)]
    np.testing.assert_allclose(second[3], first[4], atol=1e-4)


def test_files_that_a_catalogue_names_are_told_by_size_and_time(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    for name in ("here.png", "far/there.png"):
        (tmp_path / name).write_bytes(b"one")
    inline = {"bytes": b"x", "path": "here.png"}
    rows = {
        "path": ["here.png", None, str(tmp_path / "here.png"), "https://a.b/c.png", "gone.png"],
        "held": [{**inline}] * 5,
        "named": [{"bytes": None, "path": "there.png"}, *[inline] * 4],
        "bytes": [b"x"] * 5,
    }
    pq.write_table(pa.table(rows), tmp_path / "items.parquet")
    catalogue = open_catalogue(tmp_path / "items.parquet")
    root = str(tmp_path / "far")

    def told(*columns: str) -> str | None:
        return media_fingerprint(catalogue, columns, root)

    assert told("bytes", "held", "absent") is None
    before = told("path", "bytes"), told("named")
    assert None not in before
    assert before == (told("path"), told("named", "held"))
    (tmp_path / "far" / "there.png").write_bytes(b"another")
    assert (told("path"), before[1] == told("named")) == (before[0], False)
    os.utime(tmp_path / "here.png", (1, 1))
    assert told("path") != before[0]


def test_a_member_that_would_be_taken_for_the_shipped_one(make_fusion: FusionMaker, tmp_path: Path) -> None:
    words = tiny_models.bert(tmp_path / "text")
    members = {
        "text": {"encoder": str(words), "columns": ["colour"]},
        "image": {"encoder": "image", "columns": ["image"]},
    }
    with pytest.raises(TrainingError, match=r"members.text: .*would be called 'text', as the shipped encoder is"):
        run(make_fusion(members=members, steps=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": {"text": {"encoder": "text", "columns": ["colour"]}}}, "members: .*two modalities or more"),
        ({"towards": "audio"}, "towards: audio is not one of the members"),
        ({"towards": "text", "dimension": 8}, "dimension: follows from towards"),
        ({"heads": "gated"}, "heads: unknown field"),
        ({"keep": 1.0}, "keep: "),
    ],
)
def test_a_spec_that_makes_no_sense(make_fusion: FusionMaker, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_fusion(**changes)


def test_a_column_that_is_not_there_and_too_few_items(
    make_fusion: FusionMaker, pairs_file: Path, tmp_path: Path
) -> None:
    spec = make_fusion()
    members = {**spec.model_dump()["members"], "image": {"encoder": "image", "columns": ["picture"]}}
    with pytest.raises(TrainingError, match="no column 'picture'; it has colour, form, image"):
        run(make_fusion(members=members))
    pq.write_table(pq.read_table(pairs_file).slice(0, 3), tmp_path / "few.parquet")
    with pytest.raises(TrainingError, match="fewer than four items have several of text, image"):
        run(make_fusion(catalogue={"path": str(tmp_path / "few.parquet")}))


def test_views_show_what_is_there() -> None:
    generator = torch.Generator().manual_seed(3)
    present = torch.tensor([[True, True, True], [True, False, False], [False, True, True]]).repeat(200, 1)
    first, second = two_views(present, 0.5, generator)
    for view in (first, second):
        assert bool(view.any(1).all())
        assert not bool((view & ~present).any())
    disjoint = ~(first & second).any(1)
    assert 0.15 < float(disjoint.float().mean()) < 0.5
    assert len(torch.unique(first[::3], dim=0)) == 7
