"""The processes that share a job: one, or as many as `accelerate launch` started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from connector.errors import TrainingError

Value = TypeVar("Value")
# By which accelerate is told to leave a GPU alone.
_TOLD = ("ACCELERATE_TORCH_DEVICE", "ACCELERATE_USE_CPU")


def choose_device(name: str) -> torch.device:
    """The device a job runs on.

    Args:
        name: `auto` takes a GPU where there is one; with several processes each takes its own.

    Raises:
        TrainingError: it cannot be used here.
    """
    if name in {"auto", "cuda"} and torch.cuda.is_available():
        from accelerate import PartialState

        state = PartialState()
        device: torch.device = state.device
        if device.type == "cuda" or (name == "auto" and any(os.environ.get(told) for told in _TOLD)):
            return device
        if state.num_processes > 1:
            raise TrainingError(
                f"device {name!r}: these {state.num_processes} processes have begun a job on the CPU; start new ones"
            )
        # The state is the process's, and an earlier job on the CPU has left it there.
        return torch.device("cuda", 0)
    if name == "auto":
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise TrainingError(f"device {name!r} cannot be used here; give auto, or cpu") from error
    return device


class Processes:
    """What several processes must do together; with one, nothing.

    Gradients are averaged here and not by a wrapper around the module, so that a job may compute its loss in any way.

    Attributes:
        index, count: of this process, of all.
        main: whether this one writes files and draws the bar.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        from accelerate import PartialState

        state = PartialState(cpu=device is None or device.type == "cpu")
        self._state = state
        self.index, self.count = int(state.process_index), int(state.num_processes)
        self.main = bool(state.is_main_process)

    def average_gradients(self, module: nn.Module) -> None:
        """Replace every gradient by its mean over the processes.

        Raises:
            TrainingError: one of them ended before.
        """
        if self.count == 1:
            return
        from accelerate.utils import reduce

        learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for parameter in learned:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        # One message for all of them: small ones cost as much as large ones.
        own = torch.cat([p.grad.flatten() for p in learned if p.grad is not None])
        with self._together("the gradients were averaged"):
            flat = reduce(own, reduction="mean")
        start = 0
        for parameter in learned:
            grad = flat[start : start + parameter.numel()].view_as(parameter)
            parameter.grad = grad.to(parameter.dtype)
            start += parameter.numel()

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a scalar over the processes.

        Raises:
            TrainingError: one of them ended before.
        """
        if self.count == 1:
            return value
        from accelerate.utils import reduce

        own = value.detach().clone()
        with self._together("the loss was averaged"):
            mean: Tensor = reduce(own, reduction="mean")
        return mean

    def agree(self, value: Value) -> Value:
        """The main process's value, so that all decide alike.

        Raises:
            TrainingError: one of them ended before.
        """
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        held = [value]
        with self._together("the main process told its figures"):
            broadcast_object_list(held)
        return held[0]

    def wait(self) -> None:
        """Until every process has come here.

        Raises:
            TrainingError: one of them ended before.
        """
        if self.count == 1:
            return
        with self._together("all waited for each other"):
            self._state.wait_for_everyone()

    @contextmanager
    def _together(self, when: str) -> Iterator[None]:
        """Say in one line that a message to the other processes failed.

        Args:
            when: what it was for.
        """
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # What torch says here is of sockets; the process that ended has said why.
            raise TrainingError(
                f"process {self.index} of {self.count}: another process of this job ended while {when}, or cannot be "
                "reached; see what that one said, then go on from the last checkpoint by resume"
            ) from error
