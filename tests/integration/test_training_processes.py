"""One job in two processes: what they learn is what one would from batches twice as large."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.numpy import load_file

import encoders

ROOT = Path(__file__).parents[2]

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


SPEC = """
job: contrastive
out: out
pairs: [{path: pairs.parquet, text: ["{word}"], group: [word]}]
tower: {kind: new, image_size: 24, hidden_sizes: [8, 16], depths: [1, 1]}
batch_size: 12
epochs: 2
validation: 0.0
device: cpu
"""
SLOW_SAVE = """
import sys, time, types
from pathlib import Path
from connector.adaptation import jobs
from connector.adaptation.processes import Processes

def run(spec, **_):
    result = Path(spec.out) / "tower"
    if Processes().main:
        time.sleep(1)
        result.mkdir(parents=True)
    return result

sys.modules["connector.adaptation.slow"] = types.SimpleNamespace(run=run)
jobs.RUNNERS["next_item"] = "slow:run"
spec = jobs.SPECS.validate_python(
    {"job": "next_item", "out": sys.argv[1], "steps": 1, "device": "cpu", "interactions": {"path": "x"}}
)
assert jobs.pretrain(spec).is_dir()
"""
DYING = """
import os, sys
import torch
from connector.adaptation.processes import Processes
from connector.errors import TrainingError

processes, module = Processes(torch.device("cpu")), torch.nn.Linear(4, 1)
calls = {
    "mean": lambda: processes.mean(torch.ones(())),
    "average_gradients": lambda: processes.average_gradients(module),
    "agree": lambda: processes.agree({"score": 0.5}),
    "wait": processes.wait,
}
try:
    for step in range(50):
        if (step, processes.index) == (3, 1):
            os._exit(3)
        calls[sys.argv[1]]()
except TrainingError as error:
    print(error)
    sys.stdout.flush()
# Leaving politely would wait for the one that is gone.
os._exit(0)
"""
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(arguments: list[str], **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    run([str(script), str(tmp_path / "one"), "2"])
    run([*LAUNCH, str(script), str(tmp_path / "two"), "1"])
    name = "checkpoints/step-00000020/model.safetensors"
    one, two = load_file(tmp_path / "one" / name), load_file(tmp_path / "two" / name)
    assert two["weight"] == pytest.approx(one["weight"], abs=1e-5)
    assert len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == 2


def test_nobody_goes_on_before_the_result_is_written(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(SLOW_SAVE)
    run([*LAUNCH, str(script), str(tmp_path / "out")])


@pytest.mark.parametrize(
    ("call", "when"),
    [
        ("mean", "the loss was averaged"),
        ("average_gradients", "the gradients were averaged"),
        ("agree", "the main process told its figures"),
        ("wait", "all waited for each other"),
    ],
)
def test_a_process_that_dies_is_one_line_of_the_other(tmp_path: Path, call: str, when: str) -> None:
    """Started by hand: a launcher would end the other one before it says anything."""
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            [sys.executable, str(script), call],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        printed = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 3], printed
    assert printed[0][0].splitlines() == [
        f"process 0 of 2: another process of this job ended while {when}, or cannot be reached; see what that one "
        "said, then go on from the last checkpoint by resume"
    ]


def test_the_command_in_two_processes(tmp_path: Path) -> None:
    """Each decodes the pictures and computes its batches; one writes the tower, publishes it and says so."""
    colours = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200), "grey": (120, 120, 120)}
    words = list(colours) * 12
    images = []
    for word in words:
        stream = io.BytesIO()
        Image.new("RGB", (24, 24), colours[word]).save(stream, "PNG")
        images.append(stream.getvalue())
    pq.write_table(pa.table({"word": words, "image": pa.array(images, pa.binary())}), tmp_path / "pairs.parquet")
    (tmp_path / "spec.yaml").write_text(SPEC)
    shutil.copytree(ROOT / "feature_repo", tmp_path / "repo", ignore=shutil.ignore_patterns("data", ".connector"))
    # As a checkout has it: version 1 is described, and its graph is still to be made.
    shutil.copytree(ROOT / "triton_models" / "image" / "1", tmp_path / "triton_models" / "image" / "1")
    (tmp_path / "triton_models" / "image" / "1" / "model.onnx").unlink(missing_ok=True)
    command = ["-m", "connector.cli", "pretrain", str(tmp_path / "spec.yaml"), "--publish", "image"]
    printed = run([*LAUNCH, *command, "--repo", str(tmp_path / "repo")], XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert [line.split(" (")[0] for line in printed.splitlines()[1:]] == ["published image/2"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 4
    assert (tmp_path / "out" / "tower" / "README.md").is_file()
    assert [path.name for path in (tmp_path / "out" / "cache").iterdir()] == ["pictures.arrow"]
    published = tmp_path / "triton_models" / "image"
    assert sorted(path.name for path in published.iterdir() if path.name.isdecimal()) == ["1", "2"]
    with encoders.load(published / "2") as image:
        assert image.encode(images[:4]).shape == (4, 384)
