"""Changes to a batch of training spectrograms that leave their words true."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from connector.adaptation.sound_spec import SoundAugmentation


def augment_sounds(
    values: Tensor, mask: Tensor, how: SoundAugmentation, per_decibel: float, silence: float, generator: torch.Generator
) -> Tensor:
    """Make louder or quieter, shift along the frequencies, and silence stretches (SpecAugment).

    Args:
        values: float32 [n, frames, mels] on the CPU.
        mask: int64 [n, frames], 1 where frames are real.
        per_decibel: what one dB adds to a value.
        silence: value of no sound at all; the least there is.
        generator: on the CPU, so that every device sees the same changes.

    Returns:
        float32 [n, frames, mels].
    """
    rows, frames, mels = values.shape

    def draw() -> Tensor:
        return torch.rand(rows, 1, generator=generator)

    louder = (2 * draw() - 1) * how.loudness * per_decibel
    values = (values + louder.unsqueeze(-1)).clamp(min=silence)
    shift = ((2 * draw() - 1) * (how.bands + 0.5)).round().long()
    bands = (torch.arange(mels) + shift).clamp(0, mels - 1)
    values = values.gather(2, bands.unsqueeze(1).expand(rows, frames, mels))
    real = mask.sum(dim=1, keepdim=True)
    values = values.masked_fill(_stretch(real, frames, how.mask, draw).unsqueeze(2), silence)
    return values.masked_fill(_stretch(torch.full_like(real, mels), mels, how.mask, draw).unsqueeze(1), silence)


def _stretch(length: Tensor, size: int, share: float, draw: Callable[[], Tensor]) -> Tensor:
    """bool [n, size]: a stretch of at most `share` of each row's length."""
    width = draw() * share * length
    start = draw() * (length - width)
    places = torch.arange(size)
    inside: Tensor = (places >= start) & (places < start + width)
    return inside
