"""Decoders that predict hidden patches: over one token set (MAE, joint), or attending to a memory (cross-self)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.models.layers import (
    MLP,
    Attention,
    Block,
    CrossAttention,
    init_linear,
    init_token,
    layer_norm,
    with_class_position,
)
from kinema.models.positions import Positions
from kinema.models.vit_config import BlockOrder, DecoderAttention, DecoderConfig
from kinema.ops.masking import Mask
from kinema.ops.posembed import resample_clip_positions, sincos_2d
from kinema.ops.tokens import put_tokens, take_tokens


class CrossBlock(nn.Module):
    """Pre-norm decoder block: cross-attention to the memory, self-attention (unless left out), MLP.

    The memory has a norm of its own in every block.
    """

    def __init__(self, width: int, num_heads: int, mlp_width: int, *, self_attention: bool) -> None:
        super().__init__()
        self.norm_cross = layer_norm(width)
        self.norm_memory = layer_norm(width)
        self.cross = CrossAttention(width, num_heads)
        self.norm_self = layer_norm(width) if self_attention else None
        self.attn = Attention(width, num_heads) if self_attention else None
        self.norm_mlp = layer_norm(width)
        self.mlp = MLP(width, mlp_width)

    def asked(self, tokens: Float[Tensor, "B N D"], memory: Float[Tensor, "B M D"]) -> tuple[Tensor, Tensor]:
        """What the cross-attention makes its queries and its keys of."""
        return self.norm_cross(tokens), self.norm_memory(memory)

    def forward(self, tokens: Float[Tensor, "B N D"], memory: Float[Tensor, "B M D"]) -> Float[Tensor, "B N D"]:
        tokens = tokens + self.cross(*self.asked(tokens, memory))
        if self.attn is not None and self.norm_self is not None:
            tokens = tokens + self.attn(self.norm_self(tokens))
        return tokens + self.mlp(self.norm_mlp(tokens))


class PostNormCrossBlock(nn.Module):
    """CropMAE's decoder block: cross-attention, MLP, self-attention (unless left out), each followed by its norm.

    No norm on the memory. CropMAE's dropout of 0.1 is left out.
    """

    def __init__(self, width: int, num_heads: int, mlp_width: int, *, self_attention: bool) -> None:
        super().__init__()
        self.cross = CrossAttention(width, num_heads)
        self.norm_cross = layer_norm(width)
        self.mlp = MLP(width, mlp_width)
        self.norm_mlp = layer_norm(width)
        self.attn = Attention(width, num_heads) if self_attention else None
        self.norm_self = layer_norm(width) if self_attention else None

    def asked(self, tokens: Float[Tensor, "B N D"], memory: Float[Tensor, "B M D"]) -> tuple[Tensor, Tensor]:
        """What the cross-attention makes its queries and its keys of."""
        return tokens, memory

    def forward(self, tokens: Float[Tensor, "B N D"], memory: Float[Tensor, "B M D"]) -> Float[Tensor, "B N D"]:
        tokens = self.norm_cross(tokens + self.cross(tokens, memory))
        tokens = self.norm_mlp(tokens + self.mlp(tokens))
        if self.attn is not None and self.norm_self is not None:
            tokens = self.norm_self(tokens + self.attn(tokens))
        return tokens


class PatchDecoder(nn.Module):
    """Predicts the patches of a frame from its visible tokens, given a memory of another frame or none.

    Both streams come from the encoder, class token first, and go through one linear map. Holes of the frame become mask
    tokens, and fixed sin-cos positions are added. `joint` runs plain blocks over frame and memory together (with no
    memory that is MAE's decoder); `cross` and `cross_self` keep the memory constant and attend to it from every block.
    """

    pos_embed: Tensor

    def __init__(
        self,
        config: DecoderConfig,
        *,
        encoder_width: int,
        grid: tuple[int, int],
        patch_values: int,
        attention: DecoderAttention = "joint",
        order: BlockOrder = "pre_norm",
        memory_positions: bool = True,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.attention = attention
        self.memory_positions = memory_positions
        self.embed = nn.Linear(encoder_width, config.width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, config.width))
        self.register_buffer("pos_embed", torch.empty(1, 1 + grid[0] * grid[1], config.width))
        self.blocks = nn.ModuleList(_block(config, attention, order) for _ in range(config.depth))
        self.norm = layer_norm(config.width)
        self.pred = nn.Linear(config.width, patch_values)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Fills every parameter and buffer."""
        self.apply(init_linear)
        init_token(self.mask_token)
        self.pos_embed.copy_(with_class_position(sincos_2d(self.grid, self.pos_embed.shape[-1])))

    def forward(
        self,
        visible: Float[Tensor, "B V1 D"],
        mask: Mask,
        memory: Float[Tensor, "B S1 D"] | None = None,
        memory_mask: Mask | None = None,
    ) -> Float[Tensor, "B N P"]:
        """Predictions for all N patches in raster order, the visible ones included (no loss asks for those).

        memory_mask: which patches of the memory's frame its tokens are; None where they are all of them.
        """
        tokens = self._fill(self.embed(visible), mask) + self.pos_embed
        if memory is None:
            tokens = self._run(tokens)
        elif self.attention == "joint":
            context = self._fill(self.embed(memory), memory_mask) + self.pos_embed
            tokens = self._run(torch.cat([tokens, context], dim=1))[:, : tokens.shape[1]]
        else:
            tokens = self._run(tokens, self._memory(memory, memory_mask))
        return self.pred(self.norm(tokens))[:, 1:]

    def queries_and_keys(
        self, tokens: Float[Tensor, "B N1 D"], grid: tuple[int, int], *, block: int, positions: Positions
    ) -> tuple[Float[Tensor, "B h w E"], Float[Tensor, "B h w E"]]:
        """Queries and keys of every patch in a block's cross-attention, for frames that are seen whole.

        Their product is the mean over heads of the scaled logits; for keys of one frame and queries of another it says
        how one attends to the other. Keys depend on their frame alone. So do the queries of the first block; those of a
        later one depend on the memory that the blocks before it attended to, which here is the queries' own frame.
        tokens: the encoder's, class token first. grid: (rows, columns) of patches. block: 1 is the first, -1 the last.
        ConfigError where there is no such block, or no cross-attention.
        """
        if self.attention == "joint":
            raise ConfigError("a joint decoder has no cross-attention", where="affinity", fix="compare features")
        depth = len(self.blocks)
        chosen = block if block > 0 else depth + 1 + block
        if not 1 <= chosen <= depth:
            what = f"block {block} of a decoder of {depth} blocks"
            raise ConfigError(what, where="decoder_block", fix=f"use 1 to {depth}")
        embedded = self.embed(tokens)
        placed = embedded + self._positions_at(grid, positions)
        memory, stream = placed if self.memory_positions else embedded, placed
        for earlier in self.blocks[: chosen - 1]:
            stream = earlier(stream, memory)
        last = self.blocks[chosen - 1]
        assert isinstance(last, CrossBlock | PostNormCrossBlock)  # the only ones of a decoder that is not joint
        queries, keys = last.cross.queries_and_keys(*last.asked(stream, memory))
        return queries[:, 1:].unflatten(1, grid), keys[:, 1:].unflatten(1, grid)

    def _positions_at(self, grid: tuple[int, int], how: Positions) -> Float[Tensor, "1 N1 D"]:
        if how == "recomputed":
            return with_class_position(sincos_2d(grid, self.pos_embed.shape[-1])).to(self.pos_embed)
        patches = resample_clip_positions(self.pos_embed[0, 1:], (1, *self.grid), (1, *grid), how=how)
        return with_class_position(patches)

    def _run(self, tokens: Tensor, *memory: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens, *memory)
        return tokens

    def _memory(self, memory: Tensor, memory_mask: Mask | None) -> Float[Tensor, "B S1 D"]:
        embedded = self.embed(memory)
        if not self.memory_positions:
            return embedded
        positions = self.pos_embed.expand(len(memory), -1, -1)
        if memory_mask is not None:
            kept = F.pad(memory_mask.visible_ids + 1, (1, 0))  # the class token stays in front, at row 0
            positions = take_tokens(positions, kept)
        return embedded + positions

    def _fill(self, tokens: Float[Tensor, "B V1 D"], mask: Mask | None) -> Float[Tensor, "B N1 D"]:
        """Tokens put back at their places in the frame, mask tokens everywhere else."""
        if mask is None:
            return tokens
        holes = self.mask_token.to(tokens.dtype).expand(len(tokens), mask.num_tokens, -1)
        return torch.cat([tokens[:, :1], put_tokens(holes, mask.visible_ids, tokens[:, 1:])], dim=1)


def _block(config: DecoderConfig, attention: DecoderAttention, order: BlockOrder) -> nn.Module:
    mlp_width = config.mlp_width or 4 * config.width
    if attention == "joint":
        return Block(config.width, config.num_heads, mlp_width)
    kind = CrossBlock if order == "pre_norm" else PostNormCrossBlock
    return kind(config.width, config.num_heads, mlp_width, self_attention=attention == "cross_self")
