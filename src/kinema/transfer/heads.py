"""Classifiers on frozen features."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.layers import MLP, CrossAttention, layer_norm


class LinearHead(nn.Module):
    """Batch normalization without parameters, then one linear layer, on the mean token (MAE's linear probe).

    He et al. 2022, arXiv:2111.06377, appendix A.1: the normalization makes one learning rate fit features of any scale.
    normalized: False for the linear layer alone (DINO).
    """

    def __init__(self, dim: int, num_classes: int, *, normalized: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim, affine=False, eps=1e-6) if normalized else nn.Identity()
        self.linear = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Float[Tensor, "B S D"]) -> Float[Tensor, "B K"]:
        """Logits of each sample from its tokens."""
        return self.linear(self.norm(tokens.mean(dim=1)))


class AttentiveHead(nn.Module):
    """One learned query attends to all tokens; a residual MLP and a linear layer read what it gathered.

    The attentive probe of V-JEPA (Bardes et al. 2024, arXiv:2404.08471). The incoming tokens are normalized first, so
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
        """Logits of each sample from its frozen tokens."""
        gathered = self.query + self._attended(tokens)
        gathered = gathered + self.mlp(self.norm_mlp(gathered))
        return self.linear(self.norm(gathered)[:, 0])

    def _attended(self, tokens: Float[Tensor, "B S D"]) -> Float[Tensor, "B 1 D"]:
        """`cross(query, norm_tokens(tokens))` without a key or a value for every token.

        Of a head with query q, a token's affinity q . (W_k x) is (W_k^T q) . x, one vector for all tokens, and the mean
        of its values is W_v of the mean token: 2 D products a head and token where the formula has 2 D^2 a token. The
        bias of the keys changes no softmax. Gradients stop at the tokens.
        """
        num_heads, norm = self.cross.num_heads, self.norm_tokens
        plain = F.layer_norm(tokens, norm.normalized_shape, eps=norm.eps)  # scale and shift follow, on vectors
        query = self.cross.q(self.query[0, 0]).unflatten(0, (num_heads, -1))  # (H, d)
        of_keys, of_values = (part.unflatten(0, (num_heads, -1)) for part in self.cross.kv.weight.chunk(2))
        directions = torch.einsum("hd,hdc->hc", query * query.shape[1] ** -0.5, of_keys) * norm.weight  # (H, D)
        weights = (plain @ directions.T).softmax(dim=1)  # (B, S, H)
        means = (weights.transpose(1, 2) @ plain) * norm.weight + norm.bias  # (B, H, D)
        values = torch.einsum("bhc,hdc->bhd", means, of_values).flatten(1) + self.cross.kv.bias.chunk(2)[1]
        return self.cross.proj(values)[:, None]
