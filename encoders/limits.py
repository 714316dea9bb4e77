"""What an encoder's inputs are held to, by modality: the same names where it is loaded and where it is served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from encoders.errors import EncoderLoadError

PARAMETER = "limit."
"""What the name of a limit begins with among the parameters of a Triton model."""
SECONDS = "seconds"


def limit_names(modality: str) -> tuple[str, ...]:
    """Limits that encoders of a modality have; `seconds` is the processor time that decoding a file may take."""
    from encoders.media.audio import AudioLimits
    from encoders.media.image import ImageLimits
    from encoders.media.video import VideoLimits

    if modality == "text":
        return ("max_bytes",)
    kind: Any = {"image": ImageLimits, "audio": AudioLimits, "video": VideoLimits}.get(modality)
    return () if kind is None else (*(field.name for field in fields(kind)), SECONDS)


def read_limits(modality: str, values: Mapping[str, Any]) -> dict[str, int | float]:
    """Limits as numbers, from numbers or text.

    Raises:
        EncoderLoadError: one that encoders of this modality do not have, or that is no number above 0.
    """
    known = limit_names(modality)
    found: dict[str, int | float] = {}
    for name, value in values.items():
        if name not in known:
            names = f"it has {', '.join(known)}" if known else "it has none; set those of its members, if it has some"
            raise EncoderLoadError(f"an encoder of {modality} has no limit {name!r}; {names}")
        try:
            number = float(value) if name == SECONDS else int(value)
        except (TypeError, ValueError, OverflowError):
            number = 0
        if not 0 < number < float("inf"):
            kind = "number" if name == SECONDS else "whole number"
            raise EncoderLoadError(f"limit {name}={value}: expected a {kind} above 0")
        found[name] = number
    return found


def limits_among(parameters: Iterable[tuple[str, str]], modality: str) -> dict[str, int | float]:
    """Those that a Triton model's parameters state.

    Args:
        parameters: names and values.

    Raises:
        EncoderLoadError: as `read_limits`.
    """
    given = dict(parameters)
    stated = {name.removeprefix(PARAMETER): value for name, value in given.items() if name.startswith(PARAMETER)}
    if "max_bytes" in given:
        # As it was called before there were others.
        stated.setdefault("max_bytes", given["max_bytes"])
    return read_limits(modality, stated)
