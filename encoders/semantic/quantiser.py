"""The residual-quantised autoencoder: a vector → a few codes, each naming what the ones before it left over.

Lee et al., CVPR 2022 (residual quantisation); Rajput et al., NeurIPS 2023 (as semantic ids of items).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

KMEANS_ROUNDS = 10


@dataclass(frozen=True)
class Codes:
    """Sizes of a quantiser.

    Attributes:
        dimension: of the vectors that go in.
        levels: codes of an id.
        size: entries of each level's codebook.
        latent: length of what is quantised.
    """

    dimension: int
    levels: int = 3
    size: int = 64
    latent: int = 32
    hidden: int = 128


class Quantiser(nn.Module):
    """Vectors to codes and back."""

    usage: Tensor

    def __init__(self, codes: Codes) -> None:
        super().__init__()
        self.codes = codes
        self.encoder = _mlp(codes.dimension, codes.hidden, codes.latent)
        self.decoder = _mlp(codes.latent, codes.hidden, codes.dimension)
        self.books = nn.Parameter(torch.randn(codes.levels, codes.size, codes.latent) * 0.1)
        # A running mean of how often each entry is chosen; kept with the weights, so that a resumed job goes on alike.
        self.register_buffer("usage", torch.ones(codes.levels, codes.size) / codes.size)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors float32 [n, dim] → reconstructions [n, dim], codes int64 [n, levels], commitment loss, a scalar."""
        latent = self.encoder(vectors)
        codes, quantised = self._quantise(latent)
        book = (quantised - latent.detach()).square().sum(dim=-1).mean()
        commitment = (latent - quantised.detach()).square().sum(dim=-1).mean()
        # Straight through: the decoder's gradient reaches the encoder as if nothing had been rounded.
        through = latent + (quantised - latent).detach()
        return self.decoder(through), codes, book + 0.25 * commitment

    @torch.no_grad()
    def encode(self, vectors: Tensor) -> Tensor:
        """Vectors float32 [n, dim] → codes int64 [n, levels]."""
        return self._quantise(self.encoder(vectors))[0]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 [n, levels] → vectors float32 [n, dim]."""
        chosen = torch.stack([self.books[level][codes[:, level]] for level in range(self.codes.levels)])
        vectors: Tensor = self.decoder(chosen.sum(dim=0))
        return vectors

    @torch.no_grad()
    def start_from(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Set each codebook to the centres of what the levels before it leave over (k-means)."""
        rest = self.encoder(vectors)
        for level in range(self.codes.levels):
            centres = _kmeans(rest, self.codes.size, generator)
            self.books[level] = centres
            rest = rest - centres[torch.cdist(rest, centres).argmin(dim=1)]

    @torch.no_grad()
    def revive(self, vectors: Tensor, codes: Tensor, least: float, generator: torch.Generator) -> int:
        """Count the entries that a batch used, and give those that hardly ever are the place of a left-over of it.

        Args:
            vectors, codes: of the batch.
            least: usage, as a share of an even one, below which an entry counts as dead.

        Returns:
            How many were revived.
        """
        rest, revived = self.encoder(vectors), 0
        for level in range(self.codes.levels):
            chosen = functional.one_hot(codes[:, level], self.codes.size).float().mean(dim=0)
            self.usage[level].mul_(0.98).add_(0.02 * chosen)
            dead = torch.nonzero(self.usage[level] < least / self.codes.size).flatten()
            if len(dead):
                picked = torch.randint(len(rest), (len(dead),), generator=generator).to(rest.device)
                self.books[level, dead] = rest[picked]
                self.usage[level, dead] = 1 / self.codes.size
                revived += len(dead)
            rest = rest - self.books[level][codes[:, level]]
        return revived

    def _quantise(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        rest, codes, total = latent.detach(), [], torch.zeros_like(latent)
        for level in range(self.codes.levels):
            chosen = torch.cdist(rest, self.books[level].detach()).argmin(dim=1)
            entry = self.books[level][chosen]
            codes.append(chosen)
            total = total + entry
            rest = rest - entry.detach()
        return torch.stack(codes, dim=1), total


def _mlp(first: int, hidden: int, last: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(first, hidden), nn.GELU(), nn.Linear(hidden, last))


def _kmeans(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Centres float32 [count, dim]; where there are fewer points, some are taken more than once."""
    picked = torch.randperm(len(points), generator=generator)[:count]
    extra = torch.randint(len(points), (count - len(picked),), generator=generator)
    centres = points[torch.cat([picked, extra]).to(points.device)].clone()
    for _ in range(KMEANS_ROUNDS):
        nearest = torch.cdist(points, centres).argmin(dim=1)
        counts = torch.bincount(nearest, minlength=count).unsqueeze(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres
