"""One job in two processes: what they learn is what one would from batches twice as large."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

SCRIPT = """
import sys
from pathlib import Path
import torch
from torch import nn
from connector.adaptation.trainer import Plan, Trainer

torch.manual_seed(0)
module, share = nn.Linear(4, 1), int(sys.argv[2])

def loss_of(batch):
    parts = []
    for number in range(batch * share, (batch + 1) * share):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(number))
        parts.append((module(x) - x.sum(1, keepdim=True)).square().mean())
    return torch.stack(parts).mean()

def evaluate():
    return {"score": -float((module.weight - 1).square().sum())}

plan = Plan("a", 20, None, 0.05, 0.1, 0.0, 10, 10, None, 0, "score")
trainer = Trainer(module, loss_of, evaluate, plan, Path(sys.argv[1]))
trainer.run(until=10)
print(Trainer(module, loss_of, evaluate, plan, Path(sys.argv[1])).run(resume=True).step)
"""


def run(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    run([str(script), str(tmp_path / "one"), "2"])
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run([*launch, str(script), str(tmp_path / "two"), "1"])
    name = "checkpoints/step-00000020/model.safetensors"
    one, two = load_file(tmp_path / "one" / name), load_file(tmp_path / "two" / name)
    assert two["weight"] == pytest.approx(one["weight"], abs=1e-5)
    assert len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == 2
