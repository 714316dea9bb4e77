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
from connector.adaptation.items import align_job, co_job
from connector.adaptation.items.factors import factors_of
from connector.adaptation.items.pairs import CoInteractions
from connector.adaptation.losses import info_nce
from connector.adaptation.publishing import require_encoder_job
from connector.adaptation.semantic.content import read_content
from connector.adaptation.semantic.spec import ContentSource
from connector.adaptation.spec import parse_spec
from connector.errors import CatalogueError, ConfigurationError, TrainingError
from encoders.towers.projected import ProjectedTower, Projection
from tests.unit.adaptation.items.conftest import CLUBS, EACH

JobMaker = Callable[..., JobSpec]
JOBS = ("collaborative_alignment", "co_interaction")
CLUB = np.repeat(np.arange(CLUBS), EACH)


def of_one_club(vectors: np.ndarray) -> float:
    """Share of items whose nearest other item is of their club."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -np.inf)
    return float(np.mean(CLUB[scores.argmax(axis=1)] == CLUB))


@pytest.fixture(scope="module")
def shuffled(club_content: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same vectors, dealt to other items."""
    table = pq.read_table(club_content)
    path = tmp_path_factory.mktemp("shuffled") / "items.parquet"
    order = np.random.default_rng(0).permutation(len(table))
    pq.write_table(pa.table({"item_id": table["item_id"], "vector": table["vector"].take(order)}), path)
    return str(path)


@pytest.mark.parametrize("pairs", ["item_item", "user_item"])
def test_items_that_go_together_come_together(
    make_items: JobMaker, club_content: Path, shuffled: str, pairs: str
) -> None:
    raw = read_content(ContentSource(path=str(club_content))).vectors
    assert of_one_club(raw) < 0.5
    report = pretrain(make_items("co_interaction", pairs=pairs), show=False)
    control = pretrain(make_items("co_interaction", "control", pairs=pairs, content={"path": shuffled}), show=False)
    # Twelve items of the club are new to a user; chance is 10 / 240.
    assert report.metrics["test/recall@10"] > 0.6
    assert control.metrics["test/recall@10"] < 0.3
    with encoders.load(report.folder, name="together") as encoder:
        assert encoder.contract.pooling == "mean"
        # By content alone: none of these is known by id.
        assert of_one_club(encoder.encode(list(raw))) > 0.8
        user = encoder.encode([["c03i01", "c03i07"]], "query")
        cold = encoder.encode(list(raw))
        assert np.mean(CLUB[np.argsort(-(user @ cold.T)[0])[:10]] == 3) >= 0.8


def test_content_finds_its_place_among_collaborative_vectors(make_items: JobMaker, shuffled: str) -> None:
    # How far fewer steps come depends on the basis of the factors, and clubs of one size leave that to rounding.
    longer = {"steps": 300, "evaluate_every": 150}
    report: Any = pretrain(make_items("collaborative_alignment", **longer), show=False)
    # Items that fewer than five users chose have no factors to speak of.
    assert report.items == 240 > report.learned + report.held_out > 150
    control = pretrain(
        make_items("collaborative_alignment", "control", content={"path": shuffled}, **longer), show=False
    )
    # Held out: twenty of an item's club look alike to the factors.
    assert report.metrics["recall@10"] > 0.3
    assert report.metrics["cosine"] > 0.6
    assert control.metrics["recall@10"] < 0.2
    assert control.metrics["cosine"] < 0.4
    table = pq.read_table(Path(report.folder).parent / "items.parquet")
    assert of_one_club(np.stack(table["vector"].to_numpy(zero_copy_only=False))) > 0.8
    card = (report.folder / "README.md").read_text()
    assert "12 singular vectors of the interactions in `interactions.parquet`" in card
    assert str(report.folder.parent) not in card


def test_vectors_of_another_job_are_a_target_too(make_items: JobMaker, club_content: Path, tmp_path: Path) -> None:
    ids = pq.read_table(club_content)["item_id"].to_pylist()
    wanted = np.eye(CLUBS, dtype=np.float32)[CLUB] + 0.1 * np.random.default_rng(1).normal(size=(240, CLUBS))
    known = pa.table({"item_id": ids[:200], "vector": list(wanted[:200].astype(np.float32))})
    pq.write_table(known, tmp_path / "vectors.parquet")
    vectors = {"path": str(tmp_path / "vectors.parquet")}
    spec = make_items("collaborative_alignment", interactions=None, factors=None, vectors=vectors)
    report: Any = pretrain(spec, show=False)
    assert report.learned + report.held_out == 200
    cold = np.stack(pq.read_table(tmp_path / "out" / "items.parquet")["vector"].to_numpy(zero_copy_only=False))[200:]
    # The last two clubs are in no target: they have a vector all the same.
    assert cold.shape == (40, CLUBS)
    pq.write_table(pa.table({"item_id": ["x", "y"], "vector": [[1.0], [2.0]]}), tmp_path / "vectors.parquet")
    with pytest.raises(TrainingError, match="0 items have both content and a collaborative vector"):
        pretrain(spec.model_copy(update={"out": str(tmp_path / "other")}), show=False)


@pytest.mark.parametrize("job", JOBS)
def test_items_without_words_are_left_out_and_counted(
    make_items: JobMaker, club_content: Path, tmp_path: Path, job: str
) -> None:
    ids = pq.read_table(club_content)["item_id"].to_pylist()
    pq.write_table(pa.table({"item_id": ids, "name": [*ids[:-2], None, " "]}), tmp_path / "words.parquet")
    content = {"path": str(tmp_path / "words.parquet"), "text": "{name}"}
    report: Any = pretrain(make_items(job, content=content, steps=1), show=False)
    assert (report.items, report.skipped["item without words"]) == (238, 2)
    made = pq.read_table(tmp_path / "out" / "items.parquet")["item_id"].to_pylist()
    assert set(made) == set(ids[:-2])


@pytest.mark.parametrize("pairs", ["item_item", "user_item"])
def test_no_item_is_its_own_negative(make_items: JobMaker, monkeypatch: pytest.MonkeyPatch, pairs: str) -> None:
    seen: list[torch.Tensor] = []

    def watched(left: torch.Tensor, right: torch.Tensor, scale: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
        # An item against itself is certain to be the nearest there is.
        seen.append((left @ right.T > 1 - 1e-5) & ~same)
        return info_nce(left, right, scale, same)

    monkeypatch.setattr(co_job, "info_nce", watched)
    # Pasts of one item are that item.
    pretrain(make_items("co_interaction", pairs=pairs, longest=1, batch_size=256, steps=3), show=False)
    assert len(seen) == 3
    for nearest in seen:
        assert not (nearest & ~torch.eye(256, dtype=torch.bool)).any()


def test_an_item_that_comes_twice_is_no_negative(make_items: JobMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    apart: list[torch.Tensor] = []
    twice: list[int] = []

    def watched(left: torch.Tensor, right: torch.Tensor, scale: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
        apart.append((left @ left.T > 1 - 1e-6) & ~same)
        twice.append(int(same.sum()) - len(same))
        return info_nce(left, right, scale, same)

    monkeypatch.setattr(align_job, "info_nce", watched)
    pretrain(make_items("collaborative_alignment", steps=6, batch_size=100), show=False)
    assert sum(twice) > 0
    assert not torch.stack(apart).any()


@pytest.mark.parametrize("job", JOBS)
def test_resumed_is_undisturbed(make_items: JobMaker, job: str) -> None:
    changes = {"steps": 12, "checkpoint_every": 4, "evaluate_every": 6, "dropout": 0.2, "hidden": 8}
    straight = pretrain(make_items(job, "straight", **changes), show=False)
    broken = make_items(job, "broken", **changes)
    pretrain(broken, until=5, show=False)
    resumed = pretrain(broken, resume=True, show=False)
    first, second = (load_file(report.folder / "model.safetensors") for report in (straight, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = load_file(pretrain(make_items(job, "other", **changes, seed=1), show=False).folder / "model.safetensors")
    assert not torch.equal(first["network.0.weight"], other["network.0.weight"])
    assert list((Path(broken.out) / "tensorboard").glob("events.*"))
    require_encoder_job(job)


@pytest.mark.parametrize(
    ("job", "changes", "reason"),
    [
        ("co_interaction", {"windows": 3}, "windows: unknown field"),
        ("co_interaction", {"pairs": "view_view"}, "pairs: "),
        ("co_interaction", {"catalogue": {"path": "x"}}, "spec: .*leave it out"),
        ("collaborative_alignment", {"vectors": {"path": "x"}}, "spec: .*give either vectors or interactions"),
        ("collaborative_alignment", {"interactions": None}, "spec: .*give either vectors or interactions"),
        ("collaborative_alignment", {"factor": 3}, "factor: unknown field"),
    ],
)
def test_a_bad_spec_is_one_clear_line(make_items: JobMaker, job: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^spec: {reason}") as caught:
        make_items(job, **changes)
    assert "\n" not in str(caught.value)


def test_vectors_that_are_all_alike(make_items: JobMaker, club_content: Path, tmp_path: Path) -> None:
    ids = pq.read_table(club_content)["item_id"]
    same = {"path": str(tmp_path / "same.parquet"), "vector": "embedding"}
    pq.write_table(pa.table({"item_id": ids, "embedding": [[1.0, 2.0]] * len(ids)}), same["path"])
    told = r"same\.parquet: the vectors of all \d+ items \(column 'embedding'\) are alike"
    for job in JOBS:
        with pytest.raises(TrainingError, match=told) as caught:
            pretrain(make_items(job, content=same), show=False)
        assert "\n" not in str(caught.value)
    with pytest.raises(TrainingError, match=told):
        pretrain(make_items("collaborative_alignment", interactions=None, factors=None, vectors=same), show=False)
    # Everybody chose the same items.
    rows = [(f"u{user}", ids[item].as_py(), item) for user in range(8) for item in range(8)]
    users, items, moments = zip(*rows, strict=True)
    pq.write_table(pa.table({"user_id": users, "item_id": items, "event_timestamp": moments}), tmp_path / "all.parquet")
    interactions = {"path": str(tmp_path / "all.parquet")}
    with pytest.raises(
        TrainingError, match=r"all\.parquet: the singular vectors of all 8 items \(column 'item_id'\) are alike"
    ):
        pretrain(make_items("collaborative_alignment", interactions=interactions, factors=1), show=False)


def test_too_few_users_for_the_factors(make_items: JobMaker) -> None:
    with pytest.raises(TrainingError, match="150 users and 240 items do not give 150 factors; ask for fewer"):
        pretrain(make_items("collaborative_alignment", factors=150), show=False)
    with pytest.raises(CatalogueError, match="no readable columns"):
        pretrain(make_items("co_interaction", content={"path": "nowhere.parquet"}), show=False)


@pytest.mark.parametrize("job", JOBS)
def test_paths_count_from_the_specs_folder(tmp_path: Path, job: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        f"job: {job}\nout: out\nsteps: 5\ninteractions: {{path: i.parquet}}\ncontent: {{path: c.parquet}}\n"
    )
    spec: Any = load_spec(file)
    assert [spec.out, spec.interactions.path, spec.content.path] == [
        str(tmp_path / name) for name in ("out", "i.parquet", "c.parquet")
    ]
    assert parse_spec(json.loads(spec.model_dump_json())) == spec


def test_factors_are_those_of_the_cosines_between_items() -> None:
    rng = np.random.default_rng(0)
    histories = [np.unique(rng.integers(0, 12, 5)) for _ in range(40)]
    factors = factors_of(histories, 13, 12)
    matrix = np.zeros((40, 13))
    for user, history in enumerate(histories):
        matrix[user, history] = 1
    scaled = matrix / np.sqrt(matrix.sum(axis=1, keepdims=True)) / np.sqrt(np.maximum(matrix.sum(axis=0), 1))
    np.testing.assert_allclose(factors @ factors.T, scaled.T @ scaled, atol=1e-5)
    assert not factors[12].any()
    np.testing.assert_array_equal(factors, factors_of(histories, 13, 12))


def test_pairs_are_of_one_history_and_near_each_other() -> None:
    histories = [np.arange(20), np.arange(100, 103), np.arange(1) + 500, np.arange(0)]
    pairs = CoInteractions(histories, window=3, longest=4, batch_size=7, seed=0)
    assert pairs.lap == 3
    seen = []
    for number in range(12):
        first, second = pairs.item_item(number)
        assert np.array_equal(first, pairs.item_item(number)[0])
        apart = np.abs(first - second)
        assert apart.min() >= 1
        assert apart.max() <= 3
        seen.extend(np.sign(first - second))
        pasts, following = pairs.user_item(number)
        assert pasts.shape == (7, 4)
        assert np.array_equal(pasts[:, -1] + 1, following)
    assert 0.2 < np.mean(np.asarray(seen) > 0) < 0.8
    other = CoInteractions(histories, window=3, longest=4, batch_size=7, seed=1)
    assert not np.array_equal(pairs.item_item(0)[0], other.item_item(0)[0])


def test_a_users_vector_is_the_direction_of_the_sum() -> None:
    torch.manual_seed(0)
    content = np.eye(5, dtype=np.float32)
    tower = ProjectedTower([f"i{item}" for item in range(5)], content, Projection(4, 3, 0.0, 6)).eval()
    items = tower.item_vectors()
    wanted = torch.nn.functional.normalize(items[1] + items[3], dim=0)
    assert torch.allclose(tower(torch.tensor([[0, 0, 2, 4]]))[0], wanted, atol=1e-6)
