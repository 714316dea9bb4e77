"""Picture encoding: through Triton and in process, on the same encoded files."""

from __future__ import annotations

from typing import Any

from benchmarks.data import pictures
from benchmarks.encoding import both_sides, least_cosine, rates
from benchmarks.harness import Figure, figure

COUNT = 1024
ROUNDS = 5


def run() -> tuple[list[Figure], dict[str, Any]]:
    """Items per second, decoding included."""
    files, origin = pictures(COUNT)
    with both_sides("image") as (here, served):
        cosine = least_cosine(here.encode(files[:200]), served.encode(files[:200]))
        measured = rates({"process": lambda: here.encode(files), "triton": lambda: served.encode(files)}, files, ROUNDS)
    figures = [
        figure(
            "pictures through Triton, batches",
            measured["triton"],
            "items/s",
            baseline="ONNX Runtime in process",
            baseline_value=measured["process"],
            goal=">= 0.95",
        ),
        figure("least cosine, Triton to in process", cosine, "", goal=">= 0.9999"),
    ]
    return figures, {"pictures": len(files), "origin": origin, "rounds": ROUNDS}
