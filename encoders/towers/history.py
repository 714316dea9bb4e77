"""The part that sequence models share: a transformer over a history that is padded on its left."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.errors import EncoderLoadError

NEVER = -1e9


@dataclass(frozen=True)
class Shape:
    """Sizes of a history transformer.

    Attributes:
        hidden: length of a state, a multiple of `heads`.
        longest: most steps of a history.
        causal: whether a step sees only what came before it.
        first_norm: whether steps are normalised before the first block. That makes them so long that what a block's
            attention adds is small beside them: a masked step, which knows nothing but its place, then hardly learns
            from the others. A causal model starts from the item itself and does not mind.
    """

    hidden: int = 64
    layers: int = 2
    heads: int = 2
    longest: int = 50
    dropout: float = 0.2
    causal: bool = True
    first_norm: bool = True

    def __post_init__(self) -> None:
        if min(self.hidden, self.layers, self.heads, self.longest) < 1 or self.hidden % self.heads:
            raise EncoderLoadError(
                f"sequence tower: hidden {self.hidden} must be a multiple of heads {self.heads}, and all sizes positive"
            )


class HistoryTransformer(nn.Module):
    """States of a history's steps.

    Positions count from the newest step backwards, so that padding on the left changes nothing.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.positions = nn.Embedding(shape.longest, shape.hidden)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.first = nn.LayerNorm(shape.hidden) if shape.first_norm else nn.Identity()
        self.drop = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.last = nn.LayerNorm(shape.hidden)

    def forward(self, steps: Tensor, there: Tensor) -> Tensor:
        """Steps float32 [n, length, hidden], there bool [n, length] → states float32 [n, length, hidden]."""
        length = steps.shape[1]
        backwards = length - 1 - torch.arange(length, device=steps.device)
        hidden = self.drop(self.first(steps + self.positions(backwards)))
        seen = there[:, None, None, :]
        if self.shape.causal:
            order = torch.arange(length, device=steps.device)
            seen = seen & (order[None, :] <= order[:, None])[None, None]
        # Finite, so that steps of padding, which see nothing, are no numbers that are not.
        bias = torch.zeros_like(seen, dtype=hidden.dtype).masked_fill(~seen, NEVER)
        for block in self.blocks:
            hidden = block(hidden, bias)
        states: Tensor = self.last(hidden)
        return states


class _Block(nn.Module):
    """Attention and a feed-forward network, each behind a normalisation (pre-norm)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.attention_norm = nn.LayerNorm(shape.hidden)
        self.qkv = nn.Linear(shape.hidden, 3 * shape.hidden)
        self.out = nn.Linear(shape.hidden, shape.hidden)
        self.feed_norm = nn.LayerNorm(shape.hidden)
        self.feed = nn.Sequential(
            nn.Linear(shape.hidden, 4 * shape.hidden), nn.GELU(), nn.Linear(4 * shape.hidden, shape.hidden)
        )
        self.drop = nn.Dropout(shape.dropout)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        rows, length, width = hidden.shape
        qkv = self.qkv(self.attention_norm(hidden)).view(rows, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        hidden = hidden + self.drop(self.out(mixed.transpose(1, 2).reshape(rows, length, width)))
        fed: Tensor = hidden + self.drop(self.feed(self.feed_norm(hidden)))
        return fed
