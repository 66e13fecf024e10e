"""From the tokens of a view to one vector."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.layers import CrossAttention, init_linear, init_token

PoolingKind = Literal["mean", "max", "gem", "class", "attention"]


class Pooling(nn.Module):
    """One vector a view: of its patch tokens, or the class token before them.

    gem: the generalized mean (Σ x^p / n)^(1/p) of the tokens' positive parts, p learned from 3 (Radenović et al. 2018,
    arXiv:1711.02512). attention: a learned query attends to all patch tokens.
    """

    def __init__(self, kind: PoolingKind, width: int, num_heads: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "gem":
            self.power = nn.Parameter(torch.empty(1))
        elif kind == "attention":
            self.query = nn.Parameter(torch.empty(1, 1, width))
            self.cross = CrossAttention(width, num_heads)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Fills every parameter."""
        self.apply(init_linear)
        if self.kind == "gem":
            nn.init.constant_(self.power, 3.0)
        elif self.kind == "attention":
            init_token(self.query)

    def forward(self, tokens: Float[Tensor, "B V1 D"], *, num_class_tokens: int) -> Float[Tensor, "B D"]:
        """tokens: the class token (if any) first."""
        if self.kind == "class":
            return tokens[:, 0]
        patches = tokens[:, num_class_tokens:]
        if self.kind == "mean":
            return patches.mean(dim=1)
        if self.kind == "max":
            return patches.amax(dim=1)
        if self.kind == "gem":
            return patches.float().clamp(min=1e-6).pow(self.power).mean(dim=1).pow(1 / self.power)
        return self.cross(self.query.expand(len(patches), -1, -1), patches)[:, 0]
