"""`python -m benchmarks.gpu`: every kind of encoder and every job once on a GPU, beside the CPU of the same machine.

Not one of the suites of `make bench`, since it asks for a GPU; `--device cpu` tries it without one. Writes
benchmarks/results/gpu.json. An encoder's vectors must agree with the CPU's (cosine ≥ 0.9999); of a job, speed and the
mean loss of the last steps are shown, since the two take the same batches but round in other places.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import encoders
from benchmarks import training_jobs
from benchmarks.__main__ import table
from benchmarks.data import descriptions, films, pictures, sounds
from benchmarks.encoders import ast, video_mae, vit
from benchmarks.encoding import least_cosine, rates
from benchmarks.harness import Figure, figure, write_results
from benchmarks.training import interactions, pairs
from connector.adaptation import pretrain
from connector.adaptation.spec import parse_spec

COUNT = {"text": 256, "image": 96, "audio": 32, "video": 8}
ROUNDS, ITEMS, STEPS = 3, 3000, 20


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each job")
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit("no GPU that torch can use; --device cpu tries the script without one")
    with tempfile.TemporaryDirectory() as name:
        figures = [*encoding(Path(name)), *training(Path(name), options.device, options.steps)]
    gpu = torch.cuda.get_device_name() if options.device != "cpu" else "none, CPU against CPU"
    write_results("gpu", figures, {"gpu": gpu, "steps": options.steps, **COUNT})
    Console(width=160).print(table({"gpu": figures}))


def encoding(folder: Path) -> Iterator[Figure]:
    """Items per second of the shipped encoders and of small networks of the published architectures."""
    inputs: dict[str, Sequence[Any]] = {
        "text": descriptions(COUNT["text"])[0],
        "image": pictures(COUNT["image"])[0],
        "audio": sounds(COUNT["audio"])[0],
        "video": films(COUNT["video"])[0],
    }
    shipped = {name: (name, name) for name in inputs}
    others = {
        "small ViT": (vit(folder / "vit"), "image"),
        "small AST": (ast(folder / "ast"), "audio"),
        "small VideoMAE": (video_mae(folder / "mae"), "video"),
    }
    for name, (source, modality) in {**shipped, **others}.items():
        yield from _both(name, source, inputs[modality])


def _both(name: str, source: str | Path, items: Sequence[Any]) -> Iterator[Figure]:
    # The torch runtime takes the GPU where there is one.
    with (
        encoders.load(source, name="here", runtime="onnx") as here,
        encoders.load(source, name="there", runtime="torch") as there,
    ):
        cosine = least_cosine(here.encode(items), there.encode(items))
        taken = rates({"cpu": lambda: here.encode(items), "gpu": lambda: there.encode(items)}, items, ROUNDS)
    yield figure(f"encode {name}", taken["gpu"], "items/s", baseline="ONNX Runtime on CPU", baseline_value=taken["cpu"])
    yield figure(f"encode {name}: least cosine to the CPU's", cosine, "", goal=">= 0.9999")


def training(folder: Path, device: str, steps: int) -> Iterator[Figure]:
    """Steps per second of every job, its first ones counted, and its loss."""
    interactions(folder)
    pairs(folder)
    training_jobs.write_items(folder, ITEMS)
    words = {"pairs": [{"path": "pairs.parquet", "image": "image", "text": ["{words}"]}], "batch_size": 64}
    often = {"steps": steps, "evaluate_every": steps, "checkpoint_every": steps}
    jobs: dict[str, dict[str, Any]] = {
        "next_item": {**training_jobs.HISTORIES, "longest": 50},
        "contrastive": {**words, "tower": {"kind": "new", "image_size": 64}},
        "contrastive, free text": {**words, "tower": {"kind": "new", "image_size": 64}, "free_text": {}},
        **{name: settings for name, (settings, _) in training_jobs.JOBS.items()},
    }
    for name, settings in jobs.items():
        job = name.partition(",")[0]
        # Ids are made on the CPU, where the job that reads them looks for them.
        cpu, gpu = (
            pretrain(
                parse_spec({**settings, **often, "job": job, "out": out, "device": place}).located(folder), show=False
            )
            for out, place in ((job, "cpu"), (f"{job}-on-device", device))
        )
        yield figure(
            f"train {name}",
            gpu.steps_per_second,
            "steps/s",
            baseline="the same on CPU",
            baseline_value=cpu.steps_per_second,
        )
        if cpu.loss is not None and gpu.loss is not None:
            yield figure(f"train {name}: loss", gpu.loss, "", baseline="the same on CPU", baseline_value=cpu.loss)


if __name__ == "__main__":
    main()
