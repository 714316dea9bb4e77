"""What the two encoding suites share: the same inputs through this process and through a real Triton."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import ROOT, interleaved
from connector.config import TritonSettings
from connector.serving import LocalTriton, TritonClient, publish
from encoders import Encoder, default_contract, load


@contextmanager
def both_sides(name: str) -> Iterator[tuple[Encoder, Encoder]]:
    """The default encoder `name`, in this process and on a local Triton; both from one encoder folder."""
    repository = ROOT / "triton_models"
    contract = default_contract(name)
    publish(repository, name, name=name, version=contract.version)
    settings = TritonSettings()
    with (
        tempfile.TemporaryDirectory() as state,
        LocalTriton(repository, ROOT / ".venv-triton", log_folder=Path(state)) as server,
        load(repository / name / str(contract.version), runtime="onnx") as here,
    ):
        client = TritonClient(server.grpc_url, settings)
        try:
            yield here, client.encoder(contract)
        finally:
            client.close()


def rates(calls: dict[str, Callable[[], Any]], inputs: Sequence[Any], rounds: int) -> dict[str, float]:
    """Items per second of each call, medians over interleaved rounds."""
    return {name: len(inputs) / taken for name, taken in interleaved(calls, rounds).items()}


def least_cosine(first: Any, second: Any) -> float:
    """Smallest cosine between rows of two [n, dimension] arrays."""
    scale = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(axis=1) / scale).min())
