"""Parts of a pretrained tower that stay as they are while the rest is trained."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from connector.errors import TrainingError


def freeze(tower: nn.Module, patterns: Sequence[str], *, where: str = "tower.freeze") -> None:
    """Take what the patterns name out of training.

    Args:
        patterns: names of parameters as `named_parameters` spells them, with `*`, `?` and `[…]` as in a shell.
        where: of the spec they stand, for messages.

    Raises:
        TrainingError: a pattern that names nothing, or nothing left to learn.
    """
    parameters = dict(tower.named_parameters())
    for pattern in patterns:
        found = [name for name in parameters if fnmatchcase(name, pattern)]
        if not found:
            raise TrainingError(f"{where}: no parameter is named {pattern!r}; there are {_some(list(parameters))}")
        for name in found:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise TrainingError(f"{where}: nothing is left to learn; name fewer parts")


def still_parts(tower: nn.Module, *, keep_statistics: bool) -> list[nn.Module]:
    """Modules that stay in evaluation mode: those whose parameters are all frozen, and, where `keep_statistics`, every
    batch normalisation."""
    still = []
    for module in tower.modules():
        parameters = list(module.parameters())
        frozen = bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
        if frozen or (keep_statistics and isinstance(module, _BatchNorm)):
            still.append(module)
    return still


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names if len(names) <= most else [*names[: most - 1], "…", names[-1]])
