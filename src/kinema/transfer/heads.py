"""Classifiers on frozen features."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.layers import MLP, CrossAttention, layer_norm


class LinearHead(nn.Module):
    """Batch normalisation without parameters, then one linear layer, on the mean token (MAE's linear probe).

    He et al. 2022, arXiv:2111.06377, appendix A.1: the normalisation makes one learning rate fit features of any scale.
    normalised: False for the linear layer alone (DINO).
    """

    def __init__(self, dim: int, num_classes: int, *, normalised: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim, affine=False, eps=1e-6) if normalised else nn.Identity()
        self.linear = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Float[Tensor, "B S D"]) -> Float[Tensor, "B K"]:
        """Logits of each sample from its tokens."""
        return self.linear(self.norm(tokens.mean(dim=1)))


class AttentiveHead(nn.Module):
    """One learned query attends to all tokens; a residual MLP and a linear layer read what it gathered.

    The attentive probe of V-JEPA (Bardes et al. 2024, arXiv:2404.08471). The incoming tokens are normalised first, so
    that one learning rate fits features of any scale.
    """

    def __init__(self, dim: int, num_classes: int, *, num_heads: int) -> None:
        super().__init__()
        self.norm_tokens = layer_norm(dim)
        self.query = nn.Parameter(torch.empty(1, 1, dim))
        self.cross = CrossAttention(dim, num_heads)
        self.norm_mlp = layer_norm(dim)
        self.mlp = MLP(dim, 4 * dim)
        self.norm = layer_norm(dim)
        self.linear = nn.Linear(dim, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.query, std=0.02)

    def forward(self, tokens: Float[Tensor, "B S D"]) -> Float[Tensor, "B K"]:
        """Logits of each sample from its tokens."""
        gathered = self.query.expand(len(tokens), -1, -1)
        gathered = gathered + self.cross(gathered, self.norm_tokens(tokens))
        gathered = gathered + self.mlp(self.norm_mlp(gathered))
        return self.linear(self.norm(gathered)[:, 0])
