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
        hidden, bias = self._begin(steps, there)
        for block in self.blocks:
            hidden = block(hidden, bias)
        states: Tensor = self.last(hidden)
        return states

    def newest(self, steps: Tensor, there: Tensor) -> Tensor:
        """The state of the newest step alone, float32 [n, hidden]: what `forward` gives it, without the last block's
        work for all the others."""
        hidden, bias = self._begin(steps, there)
        *blocks, last = self.blocks
        for block in blocks:
            hidden = block(hidden, bias)
        state: Tensor = self.last(last(hidden, bias, newest=True)[:, 0])
        return state

    def _begin(self, steps: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """States before the first block, and what is added to scores: float32 [n, 1, length or 1, length]."""
        length = steps.shape[1]
        backwards = length - 1 - torch.arange(length, device=steps.device)
        hidden = self.drop(self.first(steps + self.positions(backwards)))
        seen = there[:, None, None, :]
        if self.shape.causal:
            order = torch.arange(length, device=steps.device)
            seen = seen & (order[None, :] <= order[:, None])[None, None]
        # Finite, so that steps of padding, which see nothing, are no numbers that are not.
        return hidden, torch.zeros_like(seen, dtype=hidden.dtype).masked_fill(~seen, NEVER)


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

    def forward(self, hidden: Tensor, bias: Tensor, *, newest: bool = False) -> Tensor:
        """States float32 [n, length, hidden] → the next ones; with `newest` the last step's alone, [n, 1, hidden]."""
        normed = self.attention_norm(hidden)
        query, key, value = self._heads(normed, newest=newest)
        if newest:
            hidden, bias = hidden[:, -1:], bias[:, :, -1:]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        hidden = hidden + self.drop(self.out(mixed.transpose(1, 2).flatten(2)))
        fed: Tensor = hidden + self.drop(self.feed(self.feed_norm(hidden)))
        return fed

    def _heads(self, normed: Tensor, *, newest: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, float32 [n, heads, length, hidden / heads] each."""
        rows, length, width = normed.shape
        if not newest:
            qkv = self.qkv(normed).view(rows, length, 3, self.heads, width // self.heads)
            query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            return query, key, value
        weight, bias = self.qkv.weight, self.qkv.bias
        query = functional.linear(normed[:, -1:], weight[:width], bias[:width])
        both = functional.linear(normed, weight[width:], bias[width:])
        both = both.view(rows, length, 2, self.heads, width // self.heads)
        key, value = both.permute(2, 0, 3, 1, 4).unbind(0)
        return query.view(rows, 1, self.heads, width // self.heads).transpose(1, 2), key, value
