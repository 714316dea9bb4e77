"""The best state so far, kept so that a job that is resumed finds the one its checkpoint speaks of."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import nn

from connector.adaptation.checkpoint import PREFIX, load_state, state_of
from connector.errors import TrainingError

STATE = "model.safetensors"


class BestStates:
    """The best state of the newest checkpoint, and a better one that was seen after it.

    A resumed job may take another way than the one that died (with another learning rate, or under `minutes`), and then
    the later state is not its own.

    Args:
        folder: that holds a folder for each.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settled: int | None = None

    def save(self, module: nn.Module, step: int) -> None:
        """Write the module's state as that of `step`, whole or not at all."""
        from safetensors.torch import save_file

        from encoders.files import new_folder

        with new_folder(self._of(step)) as filling:
            save_file(state_of(module), filling / STATE)
        self._drop_all_but(step, self._settled)

    def settle(self, step: int | None) -> None:
        """A checkpoint names the state of `step`, or none, as the best: the others go."""
        self._settled = step
        self._drop_all_but(step)

    def restore(self, module: nn.Module, step: int) -> None:
        """Put the state of `step` into the module.

        Raises:
            TrainingError: it is gone, or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self._of(step) / STATE
        try:
            load_state(module, load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise TrainingError(f"{path}: the best state cannot be read; start afresh without resume") from error

    def _of(self, step: int) -> Path:
        return self._folder / f"{PREFIX}{step:08d}"

    def _drop_all_but(self, *steps: int | None) -> None:
        kept = {self._of(step) for step in steps if step is not None}
        for path in self._folder.glob(f"{PREFIX}*"):
            if path not in kept:
                shutil.rmtree(path)
