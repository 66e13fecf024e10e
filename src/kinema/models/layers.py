"""The parts a transformer is made of: attention, MLP, blocks, patch embedding, and their initialization."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from kinema.models.long_attention import attend_over_many
from kinema.models.relations import Relation
from kinema.models.relative import RelativePositions
from kinema.models.vit_config import MLPKind, QKVBias
from kinema.ops.tokens import patchify, take_tokens

NORM_EPS = 1e-6


def layer_norm(width: int, eps: float = NORM_EPS) -> nn.LayerNorm:
    """LayerNorm with the epsilon of every ViT here unless told otherwise (PyTorch's own default is 1e-5)."""
    return nn.LayerNorm(width, eps=eps)


class QueryValueLinear(nn.Linear):
    """A linear map to query, key and value in which the key has no bias (BEiT, VideoMAE)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))

    def forward(self, input: Float[Tensor, "B N D"]) -> Float[Tensor, "B N E"]:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return F.linear(input, self.weight, bias)


class Attention(nn.Module):
    """Multi-head self-attention; `qkv` stacks query, key and value in that order.

    relative_grid: (rows, columns) for which it has relative positions of its own, where it has.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        qkv_bias: QKVBias = "full",
        relative_grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        if qkv_bias == "query_value":
            self.qkv = QueryValueLinear(width)
        else:
            self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias == "full")
        self.proj = nn.Linear(width, width)
        self.relative = None if relative_grid is None else RelativePositions(relative_grid, num_heads)

    def forward(self, tokens: Float[Tensor, "B N D"], relation: Relation | None = None) -> Float[Tensor, "B N D"]:
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        if relation is None:
            return self.proj(attend(query, key, value, self.num_heads))
        return self.proj(attend_related(query, key, value, self.num_heads, relation.inside(self.relative)))


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

    def queries_and_keys(
        self, tokens: Float[Tensor, "B N D"], memory: Float[Tensor, "B M D"]
    ) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B M D"]]:
        """Queries and keys with the heads side by side, so scaled that their product is the mean of the heads' logits.

        The mean of the heads' attention weights is no product: each head divides by a sum of its own.
        """
        scale = self.num_heads * (tokens.shape[-1] // self.num_heads) ** 0.5
        return self.q(tokens) / scale, self.kv(memory).chunk(2, dim=-1)[0]


def attend(
    query: Float[Tensor, "B N D"], key: Float[Tensor, "B M D"], value: Float[Tensor, "B M D"], num_heads: int
) -> Float[Tensor, "B N D"]:
    """Scaled dot-product attention with the channels split into heads."""
    query, key, value = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in (query, key, value))
    attention = F.scaled_dot_product_attention
    if _trains_in_bf16_on_cpu(query):
        attention = attend_in_products if query.shape[2] * key.shape[2] < _LONG**2 else attend_over_many
    return attention(query, key, value).transpose(1, 2).flatten(2)


def attend_related(
    query: Float[Tensor, "B N D"],
    key: Float[Tensor, "B N D"],
    value: Float[Tensor, "B N D"],
    num_heads: int,
    relation: Relation,
) -> Float[Tensor, "B N D"]:
    """`attend` with positions inside: queries and keys turned, logits shifted."""
    query, key, value = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in (query, key, value))
    if relation.rotation is not None:
        query, key = relation.rotation.turn(query), relation.rotation.turn(key)
    bias = None if relation.bias is None else relation.bias.to(query.dtype)
    if bias is not None and torch.compiler.is_exporting():  # the fused kernel's decomposition for ONNX fails on a bias
        attended = attend_in_products(query, key, value, bias=bias)
    else:
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return attended.transpose(1, 2).flatten(2)


# PyTorch 2.13's fused kernel has a slow backward pass on processors: four times slower than three plain products for
# 100 tokens in bf16, twice for 200, level at about 800, where the plain products' memory begins to count. Beyond that,
# a backward pass of our own takes two thirds of the fused kernel's time. Measured by benchmarks/attention.py.
_LONG = 400


def _trains_in_bf16_on_cpu(query: Tensor) -> bool:
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and torch.is_grad_enabled()


def attend_in_products(query: Tensor, key: Tensor, value: Tensor, *, bias: Tensor | None = None) -> Tensor:
    """Attention as its formula says, (B, heads, N, width of a head); bias: added to the logits."""
    affinity = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return (affinity if bias is None else affinity + bias).softmax(dim=-1) @ value


class MLP(nn.Module):
    """Two linear layers with the exact GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return self.fc2(F.gelu(self.fc1(tokens)))


class GatedMLP(nn.Module):
    """SwiGLU (Shazeer 2020): `fc1` stacks gate and value in that order; `hidden` channels remain after the gate."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        gate, value = self.fc1(tokens).chunk(2, dim=-1)
        return self.fc2(F.silu(gate) * value)


class LayerScale(nn.Module):
    """Channels multiplied by a learned vector (Touvron et al. 2021, CaiT)."""

    INITIAL = 1e-5

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), self.INITIAL))

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return tokens * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block: self-attention, MLP.

    drop_path: probability, in training, that a sample passes one of the two by.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_width: int,
        *,
        qkv_bias: QKVBias = "full",
        norm_eps: float = NORM_EPS,
        drop_path: float = 0.0,
        mlp: MLPKind = "gelu",
        layer_scale: bool = False,
        relative_grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = layer_norm(width, norm_eps)
        self.attn = Attention(width, num_heads, qkv_bias=qkv_bias, relative_grid=relative_grid)
        self.ls1 = LayerScale(width) if layer_scale else nn.Identity()
        self.norm2 = layer_norm(width, norm_eps)
        self.mlp = (MLP if mlp == "gelu" else GatedMLP)(width, mlp_width)
        self.ls2 = LayerScale(width) if layer_scale else nn.Identity()

    def forward(self, tokens: Float[Tensor, "B N D"], relation: Relation | None = None) -> Float[Tensor, "B N D"]:
        tokens = tokens + self._kept(self.ls1(self.attn(self.norm1(tokens), relation)))
        return tokens + self._kept(self.ls2(self.mlp(self.norm2(tokens))))

    def _kept(self, branch: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return drop_samples(branch, self.drop_path) if self.training and self.drop_path > 0 else branch


def drop_samples(branch: Float[Tensor, "B N D"], share: float) -> Float[Tensor, "B N D"]:
    """A residual branch that is zero for a random `share` of the samples, in [0, 1), and scaled to the same mean.

    Stochastic depth (Huang et al. 2016, arXiv:1603.09382), drawn from the device's generator.
    """
    kept = torch.rand(len(branch), 1, 1, device=branch.device) >= share
    return branch * (kept / (1 - share)).to(branch.dtype)


class PatchEmbed(nn.Module):
    """Linear embedding of patches or tubelets, of the wanted ones only.

    The weight keeps the shape of a convolution, as in every checkpoint: (D, 3, p, p) for patches, (D, 3, t, p, p) for
    tubelets of t frames.
    """

    def __init__(self, patch_size: int, width: int, *, tubelet_size: int = 1) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.tubelet_size = tubelet_size
        if tubelet_size == 1:
            self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size)
        else:
            kernel = (tubelet_size, patch_size, patch_size)
            self.proj = nn.Conv3d(3, width, kernel, stride=kernel)

    def forward(
        self, frames: Float[Tensor, "B *T 3 H W"], ids: Int64[Tensor, "B V"] | None = None
    ) -> Float[Tensor, "B V D"]:
        """Embeddings of the patches at `ids`, or of all in raster order."""
        patches = patchify(frames, self.patch_size, tubelet_size=self.tubelet_size)  # (B, N, P)
        return self.embed(patches if ids is None else take_tokens(patches, ids))

    def embed(self, patches: Float[Tensor, "B V P"]) -> Float[Tensor, "B V D"]:
        """Embeddings of patches that are cut out already, their values ordered as `patchify` has them."""
        return F.linear(patches, self.proj.weight.movedim(1, -1).flatten(1), self.proj.bias)


def init_linear(module: nn.Module) -> None:
    """MAE's initialization: Xavier-uniform matrices (a patch embedding counts as one), zero biases, norms at one."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
        nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, QueryValueLinear):
            nn.init.zeros_(module.q_bias)
            nn.init.zeros_(module.v_bias)
    elif isinstance(module, RelativePositions):
        module.init_weights()
    elif isinstance(module, LayerScale):
        nn.init.constant_(module.gamma, module.INITIAL)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def init_token(token: nn.Parameter) -> None:
    """Class and mask tokens: normal with standard deviation 0.02."""
    nn.init.normal_(token, std=0.02)


def with_class_position(positions: Float[Tensor, "N D"]) -> Float[Tensor, "1 N1 D"]:
    """Positions of a grid with a zero row before them, for the class token."""
    return torch.cat([positions.new_zeros(1, positions.shape[1]), positions])[None]
