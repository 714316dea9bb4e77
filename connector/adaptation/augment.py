"""Changes to a batch of training pictures that leave their words true; all of them on the training device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from connector.adaptation.spec import Augmentation

# Light and two numbers of colour, I and Q, of red, green and blue (YIQ, the colours of NTSC television).
YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], dtype=torch.float64)


def augment(pictures: Tensor, size: int, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Crop, turn, mirror, relight, recolour and erase.

    Args:
        pictures: float32 [n, 3, H, W] in [0, 1]; of films [n, frames * 3, H, W], all frames of one changed alike.
        size: height and width of the result.
        generator: on the CPU, so that every device sees the same changes.

    Returns:
        float32 [n, channels, size, size] in [0, 1].
    """
    n = len(pictures)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    zoom = between(how.crop, 1.0)
    angle = between(-how.turn, how.turn) * math.pi / 180
    mirror = torch.where(torch.rand(n, generator=generator) < (0.5 if how.flip else 0.0), -1.0, 1.0)
    aspect = between(0.9, 1.1) if how.crop < 1 else torch.ones(n)
    shift_x, shift_y = (1 - zoom) * between(-1, 1), (1 - zoom) * between(-1, 1)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = [
        torch.stack([cos * mirror * aspect, -sin, shift_x], dim=1),
        torch.stack([sin * mirror * aspect, cos, shift_y], dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1).to(pictures.device), [n, 3, size, size], align_corners=False)
    image = functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)

    def column(values: Tensor) -> Tensor:
        return values.view(n, 1, 1, 1).to(image.device)

    contrast = column(between(1 - how.contrast, 1 + how.contrast))
    brightness = column(between(1 - how.brightness, 1 + how.brightness))
    # Both at once and in place: on the CPU these are a good part of a step.
    centre = image.mean(dim=(1, 2, 3), keepdim=True)
    image.mul_(contrast * brightness).add_(centre * (1 - contrast) * brightness)
    # Nothing is drawn for what is not asked for, so that all else is drawn as ever.
    if how.saturation or how.hue or how.grey:
        image = _recolour(image, colour_matrices(n, how, generator).to(image.device))
    if how.erase:
        image = _erase(image, how.erase, generator)
    return image.clamp_(0, 1)


def colour_matrices(n: int, how: Augmentation, generator: torch.Generator) -> Tensor:
    """What the colours of each picture are multiplied by, float32 [n, 3, 3].

    The plane of I and Q is turned (`hue`) and scaled (`saturation`, or 0 for `grey`). Light stays as it is, and so does
    what is grey.
    """
    strength, turn, chance = torch.rand(3, n, generator=generator)
    strength = 1 + how.saturation * (2 * strength - 1)
    strength = torch.where(chance < how.grey, 0.0, strength).view(n, 1, 1)
    angle = ((2 * turn - 1) * how.hue * math.pi / 180).view(n, 1, 1)
    light = YIQ[0].float().expand(3, 3)
    quarter = (torch.linalg.inv(YIQ)[:, 1:] @ torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double() @ YIQ[1:]).float()
    colour: Tensor = torch.cos(angle) * (torch.eye(3) - light) + torch.sin(angle) * quarter
    return light + strength * colour


def _recolour(image: Tensor, matrices: Tensor) -> Tensor:
    """Each picture, or each frame of a film, by its matrix: [n, frames * 3, H, W] and [n, 3, 3]."""
    colours = image.reshape(len(image), -1, 3, image.shape[2] * image.shape[3])
    return torch.matmul(matrices.unsqueeze(1), colours).view(image.shape)


def _erase(image: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    n, _, height, width = image.shape
    chance, tall, wide, top, left = torch.rand(5, n, generator=generator)
    tall, wide = 0.1 + 0.25 * tall, 0.1 + 0.25 * wide
    y, x = torch.linspace(0, 1, height).view(1, -1, 1), torch.linspace(0, 1, width).view(1, 1, -1)
    start_y, start_x = (top * (1 - tall)).view(n, 1, 1), (left * (1 - wide)).view(n, 1, 1)
    inside = (y >= start_y) & (y < start_y + tall.view(n, 1, 1)) & (x >= start_x) & (x < start_x + wide.view(n, 1, 1))
    gone = inside & (chance < probability).view(n, 1, 1)
    return image.masked_fill_(gone.unsqueeze(1).to(image.device), 0.5)
