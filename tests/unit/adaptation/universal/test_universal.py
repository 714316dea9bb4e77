from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import encoders
from connector.adaptation import JobSpec, load_spec, pretrain
from connector.adaptation.publishing import require_encoder_job
from connector.adaptation.semantic.content import read_content
from connector.adaptation.sequences.data import histories_of
from connector.adaptation.spec import parse_spec
from connector.adaptation.universal.job import _Job, build_tower
from connector.adaptation.universal.losses import changed_history_loss, next_content_loss
from connector.errors import (
    CatalogueError,
    ConfigurationError,
    ContractMismatchError,
    EncoderLoadError,
    TrainingError,
)
from encoders.towers.adaptor import Adaptation, Adaptor
from encoders.towers.history import Shape
from encoders.towers.universal import UniversalTower
from tests.unit.adaptation.universal.conftest import EACH, TOPICS, topic_vectors
from tests.unit.encoders import tiny_models

JobMaker = Callable[..., JobSpec]
SIZES = {"hidden": None, "layers": None, "longest": None, "experts": None}
# Five of the forty items are of the next topic.
CHANCE = 10 / 40


def first_next(encoder: encoders.Encoder, items: np.ndarray, seed: int) -> float:
    """Share of topics after which the item found first is of the next topic; histories of vectors never seen."""
    topics = np.stack([(np.arange(4) + start) % TOPICS for start in range(TOPICS)])
    histories = [topic_vectors(row, seed + start) for start, row in enumerate(topics)]
    users = encoder.encode(histories, "query")
    best = np.argmax(users @ items.T, axis=1) // EACH
    return float(np.mean(best == (topics[:, -1] + 1) % TOPICS))


def test_ways_through_content_are_learned_and_hold_for_items_never_seen(make_universal: JobMaker) -> None:
    spec = make_universal()
    report = pretrain(spec, show=False)
    assert report.metrics["test/recall@10"] > 0.8 > 3 * CHANCE
    table = pq.read_table(Path(spec.out) / "items.parquet")
    cold = topic_vectors(np.repeat(np.arange(TOPICS), EACH), seed=7)
    with encoders.load(report.folder, name="ways") as encoder:
        assert (encoder.contract.modality, encoder.contract.metric) == ("sequence", "COSINE")
        known = encoder.encode(table["item_id"].to_pylist())
        assert known == pytest.approx(np.stack(table["vector"].to_numpy(zero_copy_only=False)), abs=1e-4)
        assert first_next(encoder, encoder.encode(list(cold)), seed=50) >= 0.75
        # The control: what belongs to another item is of no use.
        dealt = np.random.default_rng(0).permutation(cold)
        assert first_next(encoder, encoder.encode(list(dealt)), seed=50) <= 0.5


@pytest.mark.parametrize("learn", ["adaptor", "all"])
def test_what_was_learned_serves_another_catalogue(make_universal: JobMaker, learn: str) -> None:
    source = pretrain(make_universal(out="source"), show=False)
    few = {"steps": 2, "learning_rate": 1e-4, "evaluate_every": 2}
    changes = {**SIZES, **few, "initial": str(source.folder), "learn": learn}
    moved = pretrain(make_universal("b", "moved", **changes), show=False)
    scratch = pretrain(make_universal("b", "scratch", **few), show=False)
    assert moved.metrics["test/recall@10"] > 0.6 > 2 * CHANCE
    assert moved.metrics["test/recall@10"] > scratch.metrics["test/recall@10"] + 0.2
    before, after = (load_file(report.folder / "model.safetensors") for report in (source, moved))
    still = [name for name in before if torch.equal(before[name], after[name])]
    transformer = [name for name in before if name.startswith("history.")]
    assert set(still) >= set(transformer) if learn == "adaptor" else not set(still) & set(transformer[:3])
    assert not torch.equal(before["adaptor.experts.weight"], after["adaptor.experts.weight"])


def test_with_ids_an_item_is_more_than_its_content(make_universal: JobMaker) -> None:
    report = pretrain(make_universal(ids=True, negatives="all", steps=20), show=False)
    with encoders.load(report.folder, name="ways") as encoder:
        items = pq.read_table(make_universal().content.path)  # type: ignore[union-attr]
        by_id = encoder.encode(["a03"])
        by_content = encoder.encode([items["vector"][3].as_py()])
    assert not np.allclose(by_id, by_content, atol=1e-3)


@pytest.mark.parametrize("changes", [{}, {"ids": True, "negatives": "all", "contrast": 0.1}])
def test_resumed_is_undisturbed(make_universal: JobMaker, changes: dict[str, Any]) -> None:
    changes = {"steps": 12, "checkpoint_every": 4, "evaluate_every": 6, **changes}
    straight = pretrain(make_universal(out="straight", **changes), show=False)
    broken = make_universal(out="broken", **changes)
    pretrain(broken, until=5, show=False)
    resumed = pretrain(broken, resume=True, show=False)
    first, second = (load_file(report.folder / "model.safetensors") for report in (straight, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = pretrain(make_universal(out="other", **changes, seed=1), show=False)
    assert not torch.equal(
        first["adaptor.experts.weight"], load_file(other.folder / "model.safetensors")["adaptor.experts.weight"]
    )
    assert list((Path(broken.out) / "tensorboard").glob("events.*"))
    assert "UniSRec" in (resumed.folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"expert": 3}, "expert: unknown field"),
        ({"hidden": 15}, "spec: .*hidden 15 is not a multiple of heads 2"),
        ({"learn": "adaptor"}, "spec: .*needs an initial tower"),
        ({"catalogue": {"path": "x"}}, "spec: .*leave it out"),
        ({"content": {"path": "x", "text": "no column"}}, "content.text: .*names no column"),
    ],
)
def test_a_bad_spec_is_one_clear_line(make_universal: JobMaker, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^spec: {reason}") as caught:
        make_universal(**changes)
    assert "\n" not in str(caught.value)


def test_an_initial_tower_that_does_not_fit(
    make_universal: JobMaker, make_other: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="no such folder; initial names"):
        pretrain(make_universal(**SIZES, initial=str(tmp_path / "gone")), show=False)
    other = make_other(VALUES=8)
    with pytest.raises(ConfigurationError, match=r"was trained on vectors of 8 numbers, .* of 16; encode both"):
        pretrain(make_universal(**SIZES, initial=str(other)), show=False)
    with pytest.raises(ConfigurationError, match="has hidden 8, the spec 16; leave it out"):
        pretrain(make_universal(initial=str(make_other(VALUES=16))), show=False)


@pytest.fixture
def make_other(tmp_path: Path) -> Callable[..., Path]:
    def make(VALUES: int) -> Path:  # noqa: N803
        return small_tower(values=VALUES).save(tmp_path / f"other{VALUES}")

    return make


def small_tower(values: int = 4, *, ids: bool = False, noisy: bool = False) -> UniversalTower:
    torch.manual_seed(0)
    content = np.random.default_rng(0).normal(size=(9, values)).astype(np.float32)
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    shape = Shape(hidden=8, layers=1, heads=2, longest=6, dropout=0.0)
    return UniversalTower(
        [f"i{item}" for item in range(9)], content, shape, Adaptation(values, 3, 0.0, noisy), ids=ids
    ).eval()


def test_words_stand_for_vectors(make_universal: JobMaker) -> None:
    spec: Any = make_universal(steps=1)
    spec = spec.model_copy(update={"content": spec.content.model_copy(update={"text": "about {words}"})})
    report = pretrain(spec, show=False)
    with encoders.load(report.folder, name="ways") as encoder, encoders.load("text") as text:
        assert encoder.encode(["a00"]) == pytest.approx(encoder.encode([text.encode(["about topic 0"])[0]]), abs=1e-4)


def test_content_of_another_encoder_is_refused_where_both_are_known(make_universal: JobMaker, tmp_path: Path) -> None:
    words: Any = {"content": {"path": make_universal().content.path, "text": "about {words}"}}  # type: ignore[union-attr]
    text, folder = encoders.default_contract("text"), tmp_path / "out" / "tower"
    pretrain(make_universal(steps=1, **words), show=False)
    record = json.loads((folder / "tower.json").read_text())
    assert encoders.EncoderContract.from_dict(record["content_encoder"]) == text
    assert text.label in (folder / "README.md").read_text()
    with encoders.load(folder, name="ways") as encoder:
        assert encoder.content_encoder == text  # type: ignore[attr-defined]
    other: Any = tiny_models.bert(tmp_path / "bert", hidden_size=32)
    words["content"]["encoder"] = str(other)
    second = make_universal("a", "second", **SIZES, steps=1, initial=str(folder), **words)
    with pytest.raises(
        ContractMismatchError, match=r"tower and .*\.parquet: vectors of text/1 .* and bert/1 "
    ) as caught:
        pretrain(second, show=False)
    assert "\n" not in str(caught.value)
    # Under another name it is the same encoder; of bare vectors nobody knows more than their length.
    spec: Any = make_universal(**SIZES, initial=str(folder))
    ids, content = ["x", "y"], np.eye(2, 384, dtype=np.float32)
    assert build_tower(spec, ids, content, text.renamed("words", 2)).content_encoder == text.renamed("words", 2)
    assert build_tower(spec, ids, content).content_encoder is None


def test_a_folder_without_a_word_of_its_content_is_read_as_before(tmp_path: Path) -> None:
    folder = small_tower().save(tmp_path / "tower")
    record = json.loads((folder / "tower.json").read_text())
    assert record.pop("content_encoder") is None
    assert "content_encoder" not in record["preprocessing"]
    with encoders.load(folder, name="ways") as new:
        contract = new.contract
    (folder / "tower.json").write_text(json.dumps(record))
    with encoders.load(folder, name="ways") as old:
        assert old.contract.preprocessing_hash == contract.preprocessing_hash
        assert old.content_encoder is None  # type: ignore[attr-defined]


def test_a_frozen_transformer_is_used_as_it_will_be_served(make_universal: JobMaker) -> None:
    source = pretrain(make_universal(out="source", steps=2), show=False)
    changes = {**SIZES, "steps": 2, "initial": str(source.folder), "dropout": 0.5, "contrast": 0.0, "noisy": False}
    losses = {}
    for learn in ("adaptor", "all"):
        spec: Any = make_universal("b", learn, learn=learn, **changes)
        content = read_content(spec.content, show=False)
        job = _Job(spec, histories_of(spec, content.ids), content.vectors, None)
        job.module.train()
        # Whose dropout is left: the content's, in the adaptor.
        job.tower.adaptor.drop.eval()
        losses[learn] = [job.loss_of(0).item() for _ in range(2)]
        assert job.tower.history.training == (learn == "all")
        assert job.tower.adaptor.training
    assert losses["adaptor"][0] == losses["adaptor"][1]
    assert losses["all"][0] != losses["all"][1]


def test_content_that_is_all_alike_is_one_line(make_universal: JobMaker, two_shops: Path, tmp_path: Path) -> None:
    ids = pq.read_table(two_shops / "a_items.parquet")["item_id"]
    pq.write_table(pa.table({"item_id": ids, "vector": [[1.0, 2.0]] * len(ids)}), tmp_path / "same.parquet")
    content = {"path": str(tmp_path / "same.parquet")}
    with pytest.raises(
        TrainingError, match=r"same\.parquet: the vectors of all 40 items \(column 'vector'\) are alike"
    ):
        pretrain(make_universal(content=content), show=False)
    # With vectors of their own items differ all the same.
    pretrain(make_universal(content=content, ids=True, steps=1), show=False)


def test_interactions_with_items_without_content_are_left_out(
    make_universal: JobMaker, two_shops: Path, tmp_path: Path
) -> None:
    items = pq.read_table(two_shops / "a_items.parquet")
    pq.write_table(items.slice(0, 20), tmp_path / "half.parquet")
    spec: Any = make_universal(steps=1, content={"path": str(tmp_path / "half.parquet")})
    report: Any = pretrain(spec, show=False)
    assert report.items == 20
    assert report.skipped["item not in the catalogue"] > 100
    pq.write_table(pa.table({"item_id": ["a00"], "vector": [[0.0, 0.0]]}), tmp_path / "zero.parquet")
    with pytest.raises(CatalogueError, match="the vector of 'a00' is of zeros"):
        pretrain(make_universal(content={"path": str(tmp_path / "zero.parquet")}), show=False)


def test_items_without_words_are_left_out_and_counted(
    make_universal: JobMaker, two_shops: Path, tmp_path: Path
) -> None:
    items = pq.read_table(two_shops / "a_items.parquet")
    words = pa.array([None, *items["words"].to_pylist()[1:]], pa.string())
    pq.write_table(items.set_column(items.column_names.index("words"), "words", words), tmp_path / "items.parquet")
    content = {"path": str(tmp_path / "items.parquet"), "text": "{words}"}
    report: Any = pretrain(make_universal(steps=1, content=content), show=False)
    # Nobody chose it: no interaction is left out.
    assert (report.items, report.skipped) == (39, {"item without words": 1})
    assert "(1 skipped)" in str(report)


def test_paths_count_from_the_specs_folder(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        "job: universal_sequence\nout: out\nsteps: 5\ninteractions: {path: i.parquet}\ncontent: {path: c.parquet}\n"
        "initial: before/tower\n"
    )
    spec: Any = load_spec(file)
    assert [spec.out, spec.interactions.path, spec.content.path, spec.initial] == [
        str(tmp_path / name) for name in ("out", "i.parquet", "c.parquet", "before/tower")
    ]
    assert parse_spec(json.loads(spec.model_dump_json())) == spec
    require_encoder_job(spec.job)


def test_experts_are_whitenings_that_a_gate_mixes() -> None:
    torch.manual_seed(0)
    adaptor = Adaptor(Adaptation(4, experts=2, dropout=0.0, noisy=True), hidden=3).eval()
    content = torch.randn(50, 4) + 5
    adaptor.centre(content)
    assert adaptor(content).mean(dim=0).abs().max() < 1e-4
    torch.nn.init.normal_(adaptor.gate.weight)
    weights = adaptor.experts.weight.view(2, 3, 4)
    shares = (content @ adaptor.gate.weight.T).softmax(dim=-1)
    mean = content.mean(dim=0)
    wanted = sum(shares[:, [expert]] * ((content - mean) @ weights[expert].T) for expert in range(2))
    assert torch.allclose(adaptor(content), torch.as_tensor(wanted), atol=1e-4)
    assert torch.equal(adaptor(content), adaptor(content))
    adaptor.train()
    assert not torch.equal(adaptor(content), adaptor(content))


def test_the_loss_tells_the_next_item_from_others_of_the_batch_and_never_from_itself() -> None:
    tower = small_tower()
    windows = torch.tensor([[0, 2, 3, 4], [5, 6, 3, 8]])
    states = tower.states(windows[:, :-1], tower.content[windows[:, :-1]])
    for everything, candidates in ((False, [3, 4, 6, 8]), (True, list(range(1, 10)))):
        parts = []
        for row in range(2):
            for step in range(3):
                if windows[row, step] > 0:
                    scores = 5.0 * states[row, step] @ tower.item_vectors(torch.tensor(candidates)).T
                    parts.append(-torch.log_softmax(scores, 0)[candidates.index(int(windows[row, step + 1]))])
        loss = next_content_loss(tower, states, windows, 5.0, everything)
        assert loss.item() == pytest.approx(torch.stack(parts).mean().item(), abs=1e-5)


def test_a_history_is_told_from_others_by_its_changed_self() -> None:
    tower = small_tower()
    windows = torch.tensor([[0, 2, 3, 4], [5, 6, 3, 8], [0, 0, 0, 7]])
    states = tower.states(windows[:, :-1], tower.content[windows[:, :-1]])

    def loss(item_drop: float, value_drop: float, seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        return changed_history_loss(
            tower, states, windows, 5.0, item_drop=item_drop, value_drop=value_drop, generator=generator
        ).item()

    vectors = states[:2, -1]
    scores = 5.0 * vectors @ vectors.T
    unchanged = -(torch.log_softmax(scores, 1).diagonal().mean() + torch.log_softmax(scores, 0).diagonal().mean()) / 2
    assert loss(0.0, 0.0, 0) == pytest.approx(unchanged.item(), abs=1e-5)
    assert len({loss(0.5, 0.5, seed) for seed in range(8)}) > 3
    assert loss(0.5, 0.5, 3) == loss(0.5, 0.5, 3)


def test_a_folder_that_was_changed(tmp_path: Path) -> None:
    folder = small_tower(ids=True).save(tmp_path / "tower")
    (folder / "items.json").write_text('["i0"]')
    with pytest.raises(EncoderLoadError, match=r"items\.json: is missing or was changed"):
        encoders.load(folder, name="ways")
    folder = small_tower(ids=True).save(tmp_path / "tower")
    (folder / "content.safetensors").write_bytes(b"")
    with pytest.raises(EncoderLoadError, match=r"the weights are not those of tower\.json"):
        encoders.load(folder, name="ways")
