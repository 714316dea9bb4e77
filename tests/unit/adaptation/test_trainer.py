from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from connector.adaptation.checkpoint import Progress
from connector.adaptation.processes import Processes
from connector.adaptation.trainer import Plan, Trainer
from connector.errors import ConfigurationError, TrainingError


def plan(**changes: object) -> Plan:
    values: dict[str, object] = {
        "spec_hash": "a",
        "steps": 20,
        "minutes": None,
        "learning_rate": 0.1,
        "warmup": 0.1,
        "weight_decay": 0.0,
        "evaluate_every": 5,
        "checkpoint_every": 5,
        "patience": None,
        "seed": 0,
        "metric": "score",
    }
    return Plan(**{**values, **changes})  # type: ignore[arg-type]


def trainer(
    folder: Path, module: nn.Linear, chosen: Plan, scores: list[float] | None = None, broken_at: int | None = None
) -> Trainer:
    def loss_of(step: int) -> Tensor:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        loss = (module(x) - x.sum(1, keepdim=True)).square().mean()
        return loss * math.nan if step == broken_at else loss

    def evaluate() -> dict[str, float]:
        return {"score": scores.pop(0) if scores else -float(loss_of(999))}

    return Trainer(module, loss_of, evaluate, chosen, folder)


@pytest.fixture
def linear() -> Callable[[], nn.Linear]:
    def make() -> nn.Linear:
        torch.manual_seed(0)
        return nn.Linear(3, 1)

    return make


def test_not_a_number_names_the_step_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, linear: Callable[[], nn.Linear]
) -> None:
    with pytest.raises(TrainingError, match=r"step 12: the loss is nan; the last good checkpoint is .*step-00000010"):
        trainer(tmp_path, linear(), plan(), broken_at=12).run()
    module = linear()
    assert trainer(tmp_path, module, plan()).run(resume=True).step == 20
    assert all(bool(torch.isfinite(parameter).all()) for parameter in module.parameters())


def test_not_a_number_at_once(tmp_path: Path, linear: Callable[[], nn.Linear]) -> None:
    with pytest.raises(TrainingError, match=r"step 0: .*no checkpoint had been written yet"):
        trainer(tmp_path, linear(), plan(), broken_at=0).run()


@pytest.mark.parametrize("reordered", [False, True])
@pytest.mark.parametrize("until", [None, 7])
def test_weights_in_another_order_of_memory_learn_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reordered: bool, until: int | None
) -> None:
    """Channels last, as towers of pictures are, and gradients that come in yet another order, as averaged ones do."""

    def learn(folder: Path, layout: torch.memory_format) -> Tensor:
        module, target = _conv(0, layout), _conv(1, torch.contiguous_format)

        def loss_of(step: int) -> Tensor:
            x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(step))
            return (module(x) - target(x).detach()).square().mean()

        def train(resume: bool, until: int | None) -> None:
            Trainer(module, loss_of, lambda: {"score": -float(loss_of(999))}, plan(learning_rate=0.01), folder).run(
                resume=resume, until=until
            )

        if until is not None:
            train(False, until)
        train(until is not None, None)
        return module.weight.detach()

    def contiguous(self: Processes, module: nn.Module) -> None:
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad = parameter.grad.contiguous()

    if reordered:
        monkeypatch.setattr(Processes, "average_gradients", contiguous)
    found = [learn(tmp_path / str(each), each) for each in (torch.contiguous_format, torch.channels_last)]
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def _conv(seed: int, layout: torch.memory_format) -> nn.Conv2d:
    torch.manual_seed(seed)
    return nn.Conv2d(3, 5, 3).to(memory_format=layout)


@pytest.mark.parametrize("until", [3, 5, 17])
def test_a_resumed_run_ends_like_an_undisturbed_one(
    tmp_path: Path, linear: Callable[[], nn.Linear], until: int
) -> None:
    straight, broken, resumed = linear(), linear(), linear()
    trainer(tmp_path / "a", straight, plan()).run()
    trainer(tmp_path / "b", broken, plan()).run(until=until)
    progress = trainer(tmp_path / "b", resumed, plan()).run(resume=True)
    assert progress.step == 20
    assert torch.equal(straight.weight, resumed.weight)
    assert torch.equal(straight.bias, resumed.bias)


def test_the_best_state_is_kept_and_patience_ends_the_run(tmp_path: Path, linear: Callable[[], nn.Linear]) -> None:
    module = linear()
    progress = trainer(tmp_path, module, plan(patience=2), scores=[0.5, 0.9, 0.3, 0.2, 1.0]).run()
    assert (progress.step, progress.best_step, progress.best) == (20, 10, 0.9)
    until_best = linear()
    trainer(tmp_path / "again", until_best, plan(), scores=[0.1, 0.2]).run(until=10)
    assert torch.equal(module.weight, until_best.weight)


def test_another_spec_is_refused(tmp_path: Path, linear: Callable[[], nn.Linear]) -> None:
    trainer(tmp_path, linear(), plan()).run(until=10)
    with pytest.raises(ConfigurationError, match="another spec"):
        trainer(tmp_path, linear(), plan(spec_hash="b")).run(resume=True)
    assert trainer(tmp_path, linear(), plan(spec_hash="b")).run().step == 20


def test_other_data_under_the_same_spec_are_refused(tmp_path: Path, linear: Callable[[], nn.Linear]) -> None:
    first = plan(inputs={"pairs.0.path": "1", "text_encoder": "2"})
    trainer(tmp_path, linear(), first).run(until=10)
    with pytest.raises(ConfigurationError, match=r"other data: pairs\.0\.path does not hold what it held"):
        trainer(tmp_path, linear(), plan(inputs={**first.inputs, "pairs.0.path": "3"})).run(resume=True)
    assert trainer(tmp_path, linear(), first).run(resume=True).step == 20


def test_a_run_that_ran_out_of_patience_is_resumed_with_more(tmp_path: Path, linear: Callable[[], nn.Linear]) -> None:
    """Its end falls on no step at which a checkpoint was due."""
    rare, until_best = plan(steps=100, checkpoint_every=50, patience=2), linear()
    trainer(tmp_path / "a", until_best, plan(steps=100), scores=[0.9]).run(until=5)
    ended = trainer(tmp_path / "b", linear(), rare, scores=[0.9, 0.1, 0.2]).run()
    assert (ended.step, ended.best_step) == (15, 5)
    module = linear()
    more = plan(steps=100, checkpoint_every=50, patience=4)
    resumed = trainer(tmp_path / "b", module, more, scores=[0.3, 0.4]).run(resume=True)
    assert (resumed.step, resumed.best_step, resumed.best) == (25, 5, 0.9)
    assert torch.equal(module.weight, until_best.weight)


def test_nothing_to_go_on_from_is_said(tmp_path: Path, linear: Callable[[], nn.Linear]) -> None:
    said: list[str] = []
    job = trainer(tmp_path, linear(), plan())
    job._say = said.append
    assert job.run(resume=True).step == 20
    assert [line.partition(": ")[2] for line in said] == ["no checkpoint to go on from; the job starts afresh"]


def test_a_resumed_run_may_be_told_another_rate_and_length(tmp_path: Path, linear: Callable[[], nn.Linear]) -> None:
    said: list[str] = []
    before = plan(settings={"learning_rate": 0.1, "steps": 20, "patience": None})
    with pytest.raises(TrainingError, match="lower learning_rate and resume"):
        trainer(tmp_path, linear(), before, broken_at=12).run()
    after = plan(learning_rate=0.01, steps=30, settings={"learning_rate": 0.01, "steps": 30, "patience": None})
    job = trainer(tmp_path, linear(), after)
    job._say = said.append
    assert job._rate(Progress("a", step=15)) < 0.01
    progress = job.run(resume=True)
    assert progress.step == 30
    assert said == progress.changes == ["from step 10 on: learning_rate 0.01 instead of 0.1, steps 30 instead of 20"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["changed"] for line in lines if "changed" in line] == said
    assert all(line["learning_rate"] < 0.0101 for line in lines if line["step"] > 10)
    # Nothing changed: nothing is said.
    assert trainer(tmp_path, linear(), after).run(resume=True).changes == said


def test_the_best_state_is_one_of_the_way_that_was_gone(tmp_path: Path, linear: Callable[[], nn.Linear]) -> None:
    """The run that died had seen a better state after its checkpoint; the resumed one never comes by it."""
    few = {"evaluate_every": 2, "checkpoint_every": 5}
    until_best = linear()
    trainer(tmp_path / "a", until_best, plan(), scores=[0.1]).run(until=4)
    with pytest.raises(TrainingError):
        trainer(tmp_path / "b", linear(), plan(**few), scores=[0.1, 0.5, 0.6, 0.9], broken_at=9).run()
    module = linear()
    job = trainer(tmp_path / "b", module, plan(**few, learning_rate=0.01), scores=[0.2] * 8)
    progress = job.run(resume=True)
    assert (progress.best, progress.best_step) == (0.5, 4)
    assert torch.equal(module.weight, until_best.weight)
    assert [path.name for path in (tmp_path / "b" / "best").iterdir()] == ["step-00000004"]


def test_what_is_no_number_is_never_the_best(tmp_path: Path, linear: Callable[[], nn.Linear]) -> None:
    progress = trainer(tmp_path / "a", linear(), plan(), scores=[math.nan, 0.5, math.inf, 0.2]).run()
    assert (progress.best, progress.best_step) == (0.5, 10)
    with pytest.raises(TrainingError, match=r"no evaluation gave a finite score \(at last nan\)"):
        trainer(tmp_path / "b", linear(), plan(), scores=[math.nan] * 4).run()


def test_resumed_when_its_new_length_is_over(tmp_path: Path, linear: Callable[[], nn.Linear]) -> None:
    long = plan(steps=100, evaluate_every=50)
    trainer(tmp_path, linear(), long).run(until=10)
    progress = trainer(tmp_path, linear(), plan(steps=8, evaluate_every=50)).run(resume=True)
    assert (progress.step, progress.best_step) == (10, 10)


def test_a_best_state_that_is_gone_is_one_clear_line(tmp_path: Path, linear: Callable[[], nn.Linear]) -> None:
    trainer(tmp_path, linear(), plan()).run()
    shutil.rmtree(tmp_path / "best")
    with pytest.raises(TrainingError, match="best state cannot be read"):
        trainer(tmp_path, linear(), plan()).run(resume=True)


def test_a_damaged_checkpoint_is_one_clear_line(tmp_path: Path, linear: Callable[[], nn.Linear]) -> None:
    trainer(tmp_path, linear(), plan()).run(until=10)
    (tmp_path / "checkpoints" / "step-00000010" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(TrainingError, match="cannot be continued from"):
        trainer(tmp_path, linear(), plan()).run(resume=True)


def test_minutes_end_the_run_and_the_log_reads(tmp_path: Path, linear: Callable[[], nn.Linear]) -> None:
    seen: list[Progress] = []
    job = trainer(tmp_path, linear(), plan(steps=None, minutes=0.002))
    job._notice = lambda progress, rate: seen.append(progress)
    progress = job.run()
    assert 0.1 <= progress.seconds < 5
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == progress.step == len(seen)
    assert {"loss", "learning_rate", "score"} <= set(lines[-1])
