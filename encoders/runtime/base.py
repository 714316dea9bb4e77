"""The Runtime contract: named arrays in, float32 vectors out, wherever the network runs."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.errors import EncoderLoadError

THREADS = "ENCODER_THREADS"


class Runtime(ABC):
    """A loaded network. Safe to call from several threads.

    Attributes:
        label: where it runs, for messages: `ONNX Runtime on CPU, 2 threads`.
        workers: how many runs at once pay off.
        accelerated: whether it runs on a device that wants large batches.
        row_by_row: whether rows would change each other's vectors in one run, and so are run one by one.
    """

    label: str
    workers: int = 1
    accelerated: bool = False
    row_by_row: bool = False

    @abstractmethod
    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Arrays of n rows by input name → float32 [n, dimension]."""

    def close(self) -> None:  # noqa: B027 - most runtimes are freed by the garbage collector
        """Release the network."""


def thread_count(asked: int | None = None) -> int:
    """Threads to use: as asked, else $ENCODER_THREADS, else the processors this process may run on.

    Raises:
        EncoderLoadError: the variable is not a number above zero.
    """
    if asked is not None:
        return max(1, asked)
    stated = os.environ.get(THREADS)
    if stated is not None:
        if not stated.isdigit() or int(stated) < 1:
            raise EncoderLoadError(f"{THREADS}={stated!r} is not a number of threads; set it to 1 or more, or unset it")
        return int(stated)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
