"""The parts a transformer is made of: attention, MLP, blocks, patch embedding, and their initialisation."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from kinema.ops.tokens import patchify, take_tokens

NORM_EPS = 1e-6


def layer_norm(width: int) -> nn.LayerNorm:
    """LayerNorm with the epsilon of every ViT here (1e-6; PyTorch's own default is 1e-5)."""
    return nn.LayerNorm(width, eps=NORM_EPS)


class Attention(nn.Module):
    """Multi-head self-attention; `qkv` stacks query, key and value in that order."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        return self.proj(attend(query, key, value, self.num_heads))


class CrossAttention(nn.Module):
    """Multi-head attention from tokens to a memory; `kv` stacks key and value in that order."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "B N D"], memory: Float[Tensor, "B M D"]) -> Float[Tensor, "B N D"]:
        key, value = self.kv(memory).chunk(2, dim=-1)
        return self.proj(attend(self.q(tokens), key, value, self.num_heads))


def attend(
    query: Float[Tensor, "B N D"], key: Float[Tensor, "B M D"], value: Float[Tensor, "B M D"], num_heads: int
) -> Float[Tensor, "B N D"]:
    """Scaled dot-product attention with the channels split into heads."""
    query, key, value = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in (query, key, value))
    is_short = _is_short_on_cpu(query, key)
    fused = F.scaled_dot_product_attention
    attended = attend_in_products(query, key, value) if is_short else fused(query, key, value)
    return attended.transpose(1, 2).flatten(2)


def _is_short_on_cpu(query: Tensor, key: Tensor) -> bool:
    # PyTorch 2.13's fused kernel has a slow backward pass on processors: four times slower than three plain products
    # for 100 tokens in bf16, twice for 200, level at about 800, where the plain products' memory begins to count.
    # Measured by benchmarks/attention.py.
    is_half = query.dtype == torch.bfloat16
    return query.device.type == "cpu" and is_half and torch.is_grad_enabled() and query.shape[2] * key.shape[2] < 400**2


def attend_in_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention as its formula says, (B, heads, N, width of a head)."""
    affinity = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return affinity.softmax(dim=-1) @ value


class MLP(nn.Module):
    """Two linear layers with the exact GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return self.fc2(F.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """Pre-norm transformer block: self-attention, MLP."""

    def __init__(self, width: int, num_heads: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1 = layer_norm(width)
        self.attn = Attention(width, num_heads)
        self.norm2 = layer_norm(width)
        self.mlp = MLP(width, mlp_width)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class PatchEmbed(nn.Module):
    """Linear embedding of patches, of the wanted ones only.

    The weight keeps the shape of a convolution (D, 3, p, p), as in every ViT checkpoint.
    """

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(
        self, frames: Float[Tensor, "B 3 H W"], ids: Int64[Tensor, "B V"] | None = None
    ) -> Float[Tensor, "B V D"]:
        """Embeddings of the patches at `ids`, or of all in raster order."""
        patches = patchify(frames, self.patch_size)  # (B, N, P)
        if ids is not None:
            patches = take_tokens(patches, ids)
        return F.linear(patches, self.proj.weight.permute(0, 2, 3, 1).flatten(1), self.proj.bias)


def init_linear(module: nn.Module) -> None:
    """MAE's initialisation: Xavier-uniform matrices (a patch embedding counts as one), zero biases, norms at one."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def init_token(token: nn.Parameter) -> None:
    """Class and mask tokens: normal with standard deviation 0.02."""
    nn.init.normal_(token, std=0.02)


def with_class_position(positions: Float[Tensor, "N D"]) -> Float[Tensor, "1 N1 D"]:
    """Positions of a grid with a zero row before them, for the class token."""
    return torch.cat([positions.new_zeros(1, positions.shape[1]), positions])[None]
