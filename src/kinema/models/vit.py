"""The Vision Transformer that every method trains: embeds visible patches only, and reads features at any size."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.models.configs import ViTConfig
from kinema.models.layers import Block, PatchEmbed, init_linear, init_token, layer_norm, with_class_position
from kinema.ops.masking import Mask
from kinema.ops.posembed import resample_positions, sincos_2d
from kinema.ops.tokens import take_tokens

Positions = Literal["interpolated", "interpolated_offset", "recomputed"]


class ViT(nn.Module):
    """Encoder with a class token. Parameter names are those of MAE, DINO and timm."""

    pos_embed: Tensor

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config.patch_size, config.width)
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.width))
        positions = torch.empty(1, 1 + config.num_tokens, config.width)
        if config.positions == "learned":
            self.pos_embed = nn.Parameter(positions)
        else:
            self.register_buffer("pos_embed", positions)
        mlp_width = int(config.width * config.mlp_ratio)
        self.blocks = nn.ModuleList(Block(config.width, config.num_heads, mlp_width) for _ in range(config.depth))
        self.norm = layer_norm(config.width)
        self.init_weights()

    @property
    def patch_size(self) -> int:
        """Side of a square patch, in pixels."""
        return self.config.patch_size

    @torch.no_grad()
    def init_weights(self) -> None:
        """Fills every parameter and buffer."""
        self.apply(init_linear)
        init_token(self.cls_token)
        if self.config.positions == "learned":
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        else:
            self.pos_embed.copy_(with_class_position(sincos_2d(self.config.grid, self.config.width)))

    def forward(self, frames: Float[Tensor, "B 3 H W"], mask: Mask | None = None) -> Float[Tensor, "B V1 D"]:
        """Normed tokens, the class token first, then the visible patches in ascending order (all without a mask).

        frames: standardised, of the training size.
        """
        return self.encode(self.embed(frames, mask))

    def embed(self, frames: Float[Tensor, "B 3 H W"], mask: Mask | None = None) -> Float[Tensor, "B V D"]:
        """Patch embeddings of the visible patches with their positions; no class token yet."""
        ids = None if mask is None else mask.visible_ids
        positions = self.pos_embed[:, 1:].expand(len(frames), -1, -1)
        if ids is not None:
            positions = take_tokens(positions, ids)
        return self.patch_embed(frames, ids) + positions

    def encode(self, patches: Float[Tensor, "B V D"]) -> Float[Tensor, "B V1 D"]:
        """Embedded patches through the blocks and the final norm, a class token put before them."""
        tokens = self._with_class_token(patches)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def _with_class_token(self, patches: Float[Tensor, "B V D"]) -> Float[Tensor, "B V1 D"]:
        class_token = (self.cls_token + self.pos_embed[:, :1]).expand(len(patches), -1, -1)
        return torch.cat([class_token, patches], dim=1)

    def dense(
        self, frames: Float[Tensor, "B 3 H W"], *, layer: int = -1, positions: Positions = "interpolated"
    ) -> Float[Tensor, "B h w D"]:
        """Patch features of frames of any size that divides into patches: block `layer`'s output, normed.

        layer: 1 is the first block, -1 the last. positions: how the position embedding reaches the new grid.
        """
        depth = self.config.depth
        last = layer if layer > 0 else depth + 1 + layer
        if not 1 <= last <= depth:
            raise ConfigError(f"layer {layer} of an encoder of {depth} blocks", where="layer", fix=f"use 1 to {depth}")
        grid = (frames.shape[2] // self.config.patch_size, frames.shape[3] // self.config.patch_size)
        tokens = self._with_class_token(self.patch_embed(frames) + self._positions_at(grid, positions))
        for block in self.blocks[:last]:
            tokens = block(tokens)
        return self.norm(tokens)[:, 1:].unflatten(1, grid)

    def _positions_at(self, grid: tuple[int, int], how: Positions) -> Float[Tensor, "N D"]:
        if how == "recomputed":
            if self.config.positions != "sincos":
                raise ConfigError("learned positions cannot be recomputed", where="positions", fix="interpolate them")
            return sincos_2d(grid, self.config.width).to(self.pos_embed)
        return resample_positions(self.pos_embed[0, 1:], self.config.grid, grid, how=how)
