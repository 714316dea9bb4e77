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
from safetensors.torch import load_file, save_file

import encoders
from connector.adaptation import JobSpec, load_spec, pretrain
from connector.adaptation.sequences.data import Windows, padded
from connector.adaptation.sequences.losses import masked_item_loss, next_item_loss
from connector.adaptation.spec import parse_spec
from connector.errors import CatalogueError, ConfigurationError, EncoderLoadError, TrainingError
from encoders.towers.history import Shape
from encoders.towers.sequence import SequenceTower

JobMaker = Callable[..., JobSpec]
JOBS = ("next_item", "masked_item")


@pytest.mark.parametrize(("job", "normalize"), [("next_item", True), ("masked_item", False)])
def test_a_ring_is_learned_and_the_encoder_finds_the_next_item(make_job: JobMaker, job: str, normalize: bool) -> None:
    spec = make_job(job, normalize=normalize, steps=400 if job == "masked_item" else 120, evaluate_every=100)
    spec = spec.model_copy(update={"checkpoint_every": 500})
    report = pretrain(spec, show=False)
    # Chance is 10 / 24 at most.
    assert report.metrics["test/recall@10"] > 0.6
    table = pq.read_table(Path(spec.out) / "items.parquet")
    with encoders.load(report.folder, name="next") as encoder:
        contract = encoder.contract
        assert (contract.modality, contract.metric) == ("sequence", "COSINE" if normalize else "IP")
        items = encoder.encode(table["item_id"].to_pylist())
        starts = range(0, 24, 3)
        users = encoder.encode([[f"i{(start + step) % 24:02d}" for step in range(5)] for start in starts], side="query")
    assert items == pytest.approx(np.stack(table["vector"].to_numpy(zero_copy_only=False)), abs=1e-4)
    best = np.argsort(-users @ items.T, axis=1)[:, :3]
    assert np.mean([(start + 5) % 24 in row for start, row in zip(starts, best, strict=True)]) >= 0.75


@pytest.mark.parametrize("job", JOBS)
def test_what_a_history_holds_is_learned_where_its_order_says_nothing(
    make_job: JobMaker, shop_of_clubs: Path, job: str
) -> None:
    # A masked step knows only its place: all of this has to come through attention.
    sizes = {"hidden": 32, "heads": 2, "longest": 12, "steps": 150, "evaluate_every": 150, "learning_rate": 0.005}
    spec = make_job(job, interactions={"path": str(shop_of_clubs)}, checkpoint_every=500, **sizes)
    report = pretrain(spec, show=False)
    # One of the ten to twelve items of the club that are left; chance is 10 / 240.
    assert report.metrics["test/recall@10"] > 0.7


@pytest.mark.parametrize("job", JOBS)
def test_resumed_is_undisturbed(make_job: JobMaker, job: str) -> None:
    changes = {"steps": 24, "checkpoint_every": 8, "evaluate_every": 12}
    straight = pretrain(make_job(job, "straight", **changes), show=False)
    broken = make_job(job, "broken", **changes)
    pretrain(broken, until=10, show=False)
    resumed = pretrain(broken, resume=True, show=False)
    first, second = (load_file(report.folder / "model.safetensors") for report in (straight, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = load_file(pretrain(make_job(job, "other", **changes, seed=1), show=False).folder / "model.safetensors")
    assert not torch.equal(first["table.weight"], other["table.weight"])
    assert list((Path(broken.out) / "tensorboard").glob("events.*"))


def test_a_card_says_what_and_how_well_without_folders(make_job: JobMaker, shop_of_cycles: Path) -> None:
    report = pretrain(make_job("next_item", steps=2), show=False)
    card = (report.folder / "README.md").read_text()
    assert "interactions.parquet" in card
    assert "test/recall@20" in card
    assert str(shop_of_cycles) not in card


def write(folder: Path, users: list[str], items: list[str]) -> str:
    path = folder / "few.parquet"
    pq.write_table(pa.table({"user_id": users, "item_id": items, "event_timestamp": list(range(len(users)))}), path)
    return str(path)


@pytest.mark.parametrize(
    ("users", "items", "kind", "reason"),
    [
        ([], [], CatalogueError, "not one usable interaction"),
        (["a", "b", "c"], ["x", "y", "z"], TrainingError, "no user has two interactions"),
        (["a", "a", "a", "b", "b", "b"], ["x"] * 6, TrainingError, "1 distinct items"),
        (["a", "a", "b", "b"], ["x", "y", "y", "x"], TrainingError, "histories of at most 1 leave no next item"),
    ],
)
def test_nothing_to_learn_from(
    make_job: JobMaker, tmp_path: Path, users: list[str], items: list[str], kind: type[Exception], reason: str
) -> None:
    path = write(tmp_path, users, items)
    with pytest.raises(kind, match=reason) as caught:
        pretrain(make_job("next_item", interactions={"path": path}, test=None), show=False)
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_no_number_stops_the_job(make_job: JobMaker) -> None:
    with pytest.raises(TrainingError, match=r"step \d+: the (loss|gradient) is"):
        pretrain(make_job("next_item", learning_rate=1e30, warmup=0.0), show=False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hiden": 3}, "hiden: unknown field"),
        ({"hidden": 15}, "spec: .*hidden 15 is not a multiple of heads 2"),
        ({"interactions": {"path": "x", "users": "y"}}, "interactions.users: unknown field"),
        ({"masked": 0.1}, "masked: unknown field"),
        ({"job": "next_itm"}, "job: .*next_itm.*does not match.*'masked_item'"),
    ],
)
def test_a_bad_spec_is_one_clear_line(make_job: JobMaker, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^spec: {reason}"):
        make_job(**{"job": "next_item", **changes})


def test_paths_count_from_the_specs_folder(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        "job: masked_item\nout: out\nsteps: 5\ninteractions: {path: i.parquet}\ncatalogue: {path: c.parquet}\n"
    )
    spec: Any = load_spec(file)
    assert [spec.out, spec.interactions.path, spec.catalogue.path] == [
        str(tmp_path / name) for name in ("out", "i.parquet", "c.parquet")
    ]
    assert parse_spec(json.loads(spec.model_dump_json())) == spec


def test_windows_are_a_function_of_seed_and_number() -> None:
    histories = [np.arange(20), np.arange(3), np.arange(1), np.arange(0)]
    windows = Windows(histories, 5, 4, seed=0)
    assert np.array_equal(windows.batch(7), Windows(histories, 5, 4, seed=0).batch(7))
    assert not np.array_equal(windows.batch(7), Windows(histories, 5, 4, seed=1).batch(7))
    # Four windows of the long history and one of the short; none of those that have no next item.
    assert windows.lap == 5 / 4
    for number in range(10):
        for row in windows.batch(number):
            steps = row[row > 0]
            assert np.array_equal(np.diff(steps), np.ones(len(steps) - 1))
            assert len(steps) == (5 if steps[-1] > 3 else len(steps))
    assert padded([np.asarray([4, 2])], 4).tolist() == [[0, 0, 5, 3]]


@pytest.fixture
def tower() -> SequenceTower:
    torch.manual_seed(0)
    items = [f"i{item}" for item in range(9)]
    return SequenceTower(items, Shape(hidden=8, layers=2, heads=2, longest=6, dropout=0.0)).eval()


def test_a_step_never_sees_what_comes_after_it(tower: SequenceTower) -> None:
    first, second = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 3, 9]])
    assert torch.equal(tower.states(first)[:, :3], tower.states(second)[:, :3])
    assert not torch.equal(tower.states(first)[:, 3], tower.states(second)[:, 3])


def test_padding_changes_nothing(tower: SequenceTower) -> None:
    short, long = torch.tensor([[3, 4]]), torch.tensor([[0, 0, 0, 3, 4]])
    assert tower(short).detach().numpy() == pytest.approx(tower(long).detach().numpy(), abs=1e-6)


def test_the_next_item_loss_is_that_of_each_step_by_itself(tower: SequenceTower) -> None:
    windows = torch.tensor([[0, 2, 3, 4], [5, 6, 7, 8]])
    parts = []
    for row in windows:
        for step in range(3):
            if row[step] > 0:
                scores = tower.states(row[None, :3])[0, step] @ tower.item_vectors().T
                parts.append(-torch.log_softmax(3 * scores, 0)[row[step + 1] - 1])
    loss = next_item_loss(tower, windows, torch.tensor(3.0))
    assert loss.item() == pytest.approx(torch.stack(parts).mean().item(), abs=1e-5)


def test_something_is_masked_in_every_window_and_never_padding() -> None:
    torch.manual_seed(0)
    shape = Shape(hidden=8, layers=1, heads=1, longest=7, dropout=0.0, causal=False)
    tower = SequenceTower([f"i{item}" for item in range(9)], shape)
    seen: list[torch.Tensor] = []
    states = tower.states
    tower.states = lambda items: (seen.append(items), states(items))[1]  # type: ignore[method-assign, func-returns-value]
    windows = torch.tensor([[0, 0, 2, 3, 4, 5], [0, 0, 0, 0, 0, 7]])
    for seed in range(20):
        loss = masked_item_loss(
            tower, windows, torch.tensor(1.0), masked=0.01, last=0.5, generator=torch.Generator().manual_seed(seed)
        )
        assert torch.isfinite(loss)
        assert ((seen[-1] == tower.mask).sum(dim=1) == 1).all()
        assert (seen[-1][windows == 0] == 0).all()


def test_weights_that_are_not_the_records(tower: SequenceTower, tmp_path: Path) -> None:
    folder = tower.save(tmp_path / "tower")
    assert torch.equal(SequenceTower.from_folder(folder).table.weight, tower.table.weight)
    state = load_file(folder / "model.safetensors")
    save_file({**state, "table.weight": state["table.weight"] + 1}, folder / "model.safetensors")
    with pytest.raises(EncoderLoadError, match=r"the weights are not those of tower\.json"):
        encoders.export(folder, tmp_path / "encoder", name="next")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "model.pt")
    with pytest.raises(EncoderLoadError, match="holds pickled weights"):
        encoders.load(folder, name="next")


def test_a_list_of_items_that_was_changed(tower: SequenceTower, tmp_path: Path) -> None:
    folder = tower.save(tmp_path / "tower")
    (folder / "items.json").write_text('["i0"]')
    with pytest.raises(EncoderLoadError, match=r"items\.json: is missing or was changed"):
        encoders.load(folder, name="next")
