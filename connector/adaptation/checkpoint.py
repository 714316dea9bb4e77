"""Checkpoints: weights and optimiser state as safetensors, counters as JSON, whole or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from connector.errors import ConfigurationError, TrainingError
from encoders.files import new_folder, write_json

PREFIX = "step-"


@dataclass
class Progress:
    """How far a job has come.

    Attributes:
        spec_hash, inputs: of the spec it was started with, see `identity.identity_of`.
        step: steps done.
        seconds: spent training, over all runs.
        best, best_step: best value of the validation metric so far, None before the first that is a finite number, and
            the step it was seen at.
        stale: evaluations since then.
        loss: exponential mean of the loss.
        settings: those that may be changed when the job is resumed, as they are now.
        changes: what was changed so far, a line for each time.
    """

    spec_hash: str
    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)


def save_checkpoint(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> Path:
    """Write `folder/step-…`, then remove older ones."""
    target = folder / f"{PREFIX}{progress.step:08d}"
    with new_folder(target) as filling:
        save_file(state_of(module), filling / "model.safetensors")
        save_file(_optimizer_state(module, optimizer), filling / "optimizer.safetensors")
        write_json(filling / "progress.json", asdict(progress))
    for old in _checkpoints(folder):
        if old != target:
            shutil.rmtree(old)
    return target


def load_checkpoint(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, check: Callable[[Progress], None]
) -> Progress | None:
    """Restore the newest checkpoint in `folder`, or return None where there is none.

    Args:
        check: may refuse it, by an error of its own, before anything is put into the module.

    Raises:
        TrainingError: it does not fit the module, or is damaged.
    """
    found = _checkpoints(folder)
    if not found:
        return None
    newest = found[-1]
    try:
        progress = Progress(**json.loads((newest / "progress.json").read_text(encoding="utf-8")))
        check(progress)
        load_state(module, load_file(newest / "model.safetensors"))
        _restore(module, optimizer, load_file(newest / "optimizer.safetensors"))
    except ConfigurationError:
        raise
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise TrainingError(f"{newest}: cannot be continued from; start afresh without resume") from error
    return progress


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Copies of a module's parameters and buffers, on the CPU."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}


def load_state(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Put `state_of`'s result back."""
    module.load_state_dict(state)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir())


def _optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{part}": torch.as_tensor(value).detach().cpu().contiguous().clone()
        for name, parameter in module.named_parameters()
        for part, value in optimizer.state.get(parameter, {}).items()
    }


def _restore(module: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Tensor]) -> None:
    parameters = dict(module.named_parameters())
    for key, value in state.items():
        name, part = key.rsplit("/", 1)
        parameter = parameters[name]
        # AdamW keeps its step counter on the CPU.
        optimizer.state[parameter][part] = value if part == "step" else laid_out_like(parameter, value)


def laid_out_like(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """The same numbers in the parameter's order of memory, which the fused optimiser takes all its tensors to have."""
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
