"""The Vision Transformer that every method trains: embeds visible patches only, and reads features at any size."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.models.configs import ViTConfig
from kinema.models.layers import Block, PatchEmbed, init_linear, init_token, layer_norm
from kinema.models.positions import Positioned, Positions
from kinema.ops.masking import Mask
from kinema.ops.tokens import take_tokens


class ViT(Positioned):
    """Encoder of frames or clips, with a class token or without. Parameter names are those of MAE, DINO and timm.

    drop_path: of the last block (`layers.drop_samples`); it falls to 0 at the first, in equal steps.
    """

    def __init__(self, config: ViTConfig, *, drop_path: float = 0.0) -> None:
        super().__init__(config.positions, config.clip_grid, config.width, class_token=config.class_token)
        self.config = config
        self.patch_embed = PatchEmbed(config.patch_size, config.width, tubelet_size=config.tubelet_size)
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.width)) if config.class_token else None
        mlp_width = int(config.width * config.mlp_ratio)
        self.blocks = nn.ModuleList(
            Block(
                config.width,
                config.num_heads,
                mlp_width,
                qkv_bias=config.qkv_bias,
                norm_eps=config.norm_eps,
                drop_path=drop_path * number / max(config.depth - 1, 1),
            )
            for number in range(config.depth)
        )
        self.norm = layer_norm(config.width, config.norm_eps)
        self.init_weights()

    @property
    def patch_size(self) -> int:
        """Side of a square patch, in pixels."""
        return self.config.patch_size

    @torch.no_grad()
    def init_weights(self) -> None:
        """Fills every parameter and buffer."""
        self.apply(init_linear)
        if self.cls_token is not None:
            init_token(self.cls_token)
        self.init_positions()

    def forward(self, frames: Float[Tensor, "B *T 3 H W"], mask: Mask | None = None) -> Float[Tensor, "B V1 D"]:
        """Normed tokens, the class token (if any) first, then the visible patches in ascending order (all without a
        mask).

        frames: standardised, of the training size; (B, 3, H, W) for single frames, (B, T, 3, H, W) for clips.
        """
        return self.encode(self.embed(frames, mask))

    def embed(self, frames: Float[Tensor, "B *T 3 H W"], mask: Mask | None = None) -> Float[Tensor, "B V D"]:
        """Patch embeddings of the visible patches with their positions; no class token yet."""
        ids = None if mask is None else mask.visible_ids
        return self.patch_embed(frames, ids) + self._positions_of(ids, len(frames))

    def embed_patches(self, patches: Float[Tensor, "B V P"], ids: Int64[Tensor, "B V"]) -> Float[Tensor, "B V D"]:
        """`embed` for patches that are cut out and taken already: the standardised pixels of the tokens `ids`."""
        return self.patch_embed.embed(patches) + self._positions_of(ids, len(patches))

    def _positions_of(self, ids: Int64[Tensor, "B V"] | None, batch: int) -> Float[Tensor, "B V D"]:
        positions = self.patch_positions().expand(batch, -1, -1)
        return positions if ids is None else take_tokens(positions, ids)

    def encode(self, patches: Float[Tensor, "B V D"]) -> Float[Tensor, "B V1 D"]:
        """Embedded patches through the blocks and the final norm, the class token (if any) put before them."""
        return self.norm(self.through_blocks(patches, self.config.depth))

    def through_blocks(self, patches: Float[Tensor, "B V D"], depth: int) -> Float[Tensor, "B V1 D"]:
        """Embedded patches through the first `depth` blocks, not normed; the class token (if any) put before them."""
        tokens = patches
        if self.cls_token is not None:
            class_token = (self.cls_token + self.class_position()).expand(len(patches), -1, -1)
            tokens = torch.cat([class_token, patches], dim=1)
        for block in self.blocks[:depth]:
            tokens = block(tokens)
        return tokens

    def tensors_at(self, num_frames: int, image_size: int, how: Positions) -> dict[str, Tensor]:
        """The state of the same network built for clips of another length and size: only positions are resampled.

        ConfigError where the new clip does not divide into tubelets and patches.
        """
        config = replace(self.config, num_frames=num_frames, image_size=image_size)
        return {**self.state_dict(), **self.position_tensors_at(config.clip_grid, how)}

    def dense(
        self, frames: Float[Tensor, "B 3 H W"], *, layer: int = -1, positions: Positions = "interpolated"
    ) -> Float[Tensor, "B h w D"]:
        """Patch features of single frames of any size that divides into patches: block `layer`'s output, normed.

        An encoder of tubelets sees each frame repeated over one tubelet, at the first time of its training clips.
        layer: 1 is the first block, -1 the last. positions: how the position embedding reaches the new grid.
        """
        clips = frames[:, None].expand(-1, self.config.tubelet_size, -1, -1, -1)
        return self.dense_clips(clips, layer=layer, positions=positions).squeeze(1)

    def dense_clips(
        self, clips: Float[Tensor, "B T 3 H W"], *, layer: int = -1, positions: Positions = "interpolated"
    ) -> Float[Tensor, "B t h w D"]:
        """Patch features of clips of any length and size that divide into tubelets, as from `dense`."""
        tokens = self.tokens(clips, layer=layer, positions=positions)
        return tokens[:, self.num_class_tokens :].unflatten(1, self._grid_of(clips))

    def tokens(
        self, clips: Float[Tensor, "B T 3 H W"], *, layer: int = -1, positions: Positions = "interpolated"
    ) -> Float[Tensor, "B N1 D"]:
        """What `dense_clips` makes a grid of, the class token (if any) still before it."""
        depth = self.config.depth
        last = layer if layer > 0 else depth + 1 + layer
        if not 1 <= last <= depth:
            raise ConfigError(f"layer {layer} of an encoder of {depth} blocks", where="layer", fix=f"use 1 to {depth}")
        placed = self.patch_embed(clips) + self.positions_at(self._grid_of(clips), positions)
        return self.norm(self.through_blocks(placed, last))

    def _grid_of(self, clips: Float[Tensor, "B T 3 H W"]) -> tuple[int, int, int]:
        _, num_frames, _, height, width = clips.shape
        patch = self.config.patch_size
        return num_frames // self.config.tubelet_size, height // patch, width // patch
