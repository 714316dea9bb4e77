"""From content vectors to item vectors: parametric whitening under a mixture of experts (Hou et al., KDD 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.errors import EncoderLoadError

LEAST_NOISE = 1e-2


@dataclass(frozen=True)
class Adaptation:
    """Sizes of an adaptor.

    Attributes:
        content: length of a content vector.
        experts: whitenings that are mixed; one is a plain parametric whitening.
        dropout: of content values, in training.
        noisy: whether the gate is disturbed in training, so that every expert is tried (Shazeer et al., ICLR 2017).
    """

    content: int
    experts: int = 8
    dropout: float = 0.2
    noisy: bool = True

    def __post_init__(self) -> None:
        if self.content < 1 or self.experts < 1 or not 0 <= self.dropout < 1:
            raise EncoderLoadError(
                f"universal tower: content {self.content} and experts {self.experts} must be positive, "
                f"dropout {self.dropout} in [0, 1)"
            )


class Adaptor(nn.Module):
    """Content vectors […, content] to item vectors […, hidden].

    Each expert is a whitening (x − b) W with b and W learned; a gate that sees x weighs them.
    """

    def __init__(self, sizes: Adaptation, hidden: int) -> None:
        super().__init__()
        self.sizes, self.hidden = sizes, hidden
        # One product for all experts. (x - b) W is x W + c with c = -b W: the same maps, written as a linear layer.
        self.experts = nn.Linear(sizes.content, sizes.experts * hidden)
        nn.init.normal_(self.experts.weight, std=sizes.content**-0.5)
        nn.init.zeros_(self.experts.bias)
        self.gate = nn.Linear(sizes.content, sizes.experts, bias=False)
        self.noise = nn.Linear(sizes.content, sizes.experts, bias=False)
        # Experts start with equal shares.
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.noise.weight)
        self.drop = nn.Dropout(sizes.dropout)

    @torch.no_grad()
    def centre(self, content: Tensor) -> None:
        """Let b be the mean of `content` [n, content], so that each expert starts with vectors around zero."""
        self.experts.bias.copy_(-(self.experts.weight @ content.mean(dim=0)))

    def forward(self, content: Tensor) -> Tensor:
        """float32 […, content] → float32 […, hidden]."""
        shares = self.gate(content)
        if self.training and self.sizes.noisy:
            spread = functional.softplus(self.noise(content)) + LEAST_NOISE
            shares = shares + spread * torch.randn_like(shares)
        expert = self.experts(self.drop(content)).unflatten(-1, (self.sizes.experts, self.hidden))
        mixed: Tensor = (expert * shares.softmax(dim=-1).unsqueeze(-1)).sum(dim=-2)
        return mixed
