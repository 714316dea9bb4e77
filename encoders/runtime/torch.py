"""torch: for GPUs; on the CPU it serves as the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.errors import EncoderError
from encoders.runtime.base import Runtime


class TorchRuntime(Runtime):
    """A torch module that takes its inputs by position.

    Args:
        module: from tensors to vectors [n, dimension].
        inputs: names of its inputs, in order.
        device: `cuda`, `cpu`, …; default: the GPU where there is one.
    """

    def __init__(self, module: torch.nn.Module, inputs: tuple[str, ...], *, device: str | None = None) -> None:
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._module: torch.nn.Module | None = module.to(self._device).eval()
        self._inputs = inputs
        self.accelerated = self._device.type != "cpu"
        self.label = f"torch on {self._device}"

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Arrays of n rows by input name → float32 [n, dimension]."""
        if self._module is None:
            raise EncoderError("the encoder was closed; load it again")
        with torch.inference_mode():
            tensors = [torch.from_numpy(np.ascontiguousarray(inputs[name])).to(self._device) for name in self._inputs]
            vectors: NDArray[np.float32] = self._module(*tensors).float().cpu().numpy()
        return vectors

    def close(self) -> None:
        """Release the module."""
        self._module = None
