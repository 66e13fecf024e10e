"""The Vision Transformer that every method trains: embeds visible patches only, and reads features at any size."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.models.layers import Block, PatchEmbed, init_linear, init_token, layer_norm
from kinema.models.positions import Positioned, Positions
from kinema.models.relations import Relation
from kinema.models.relative import RelativePositions
from kinema.models.rotary import Grid, rotation
from kinema.models.vit_config import ViTConfig
from kinema.models.windows import run_blocks_in_windows
from kinema.ops.masking import Mask
from kinema.ops.tokens import take_tokens


class ViT(Positioned):
    """Encoder of frames or clips, with a class token or without. Parameter names are those of MAE, DINO and timm.

    `num_class_tokens` counts all tokens before the patches: the class token, then the registers.

    drop_path: of the last block (`layers.drop_samples`); it falls to 0 at the first, in equal steps.
    """

    def __init__(self, config: ViTConfig, *, drop_path: float = 0.0) -> None:
        super().__init__(config.positions, config.clip_grid, config.width, class_token=config.class_token)
        self.config = config
        self.patch_embed = PatchEmbed(config.patch_size, config.width, tubelet_size=config.tubelet_size)
        self.num_class_tokens = config.leading_tokens
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.width)) if config.class_token else None
        registers = torch.empty(1, config.register_tokens, config.width)
        self.register_tokens = nn.Parameter(registers) if config.register_tokens else None
        is_shared = config.positions == "relative_shared"
        self.rel_pos_bias = RelativePositions(config.grid, config.num_heads) if is_shared else None
        self.blocks = nn.ModuleList(
            _block(config, drop_path * number / max(config.depth - 1, 1)) for number in range(config.depth)
        )
        self.norm = layer_norm(config.width, config.norm_eps) if config.final_norm else nn.Identity()
        self.init_weights()

    @property
    def patch_size(self) -> int:
        """Side of a square patch, in pixels."""
        return self.config.patch_size

    @torch.no_grad()
    def init_weights(self) -> None:
        """Fills every parameter and buffer."""
        self.apply(init_linear)
        for token in (self.cls_token, self.register_tokens):
            if token is not None:
                init_token(token)
        self.init_positions()

    def forward(self, frames: Float[Tensor, "B *T 3 H W"], mask: Mask | None = None) -> Float[Tensor, "B V1 D"]:
        """Normed tokens: the class token and registers (if any), then the visible patches in ascending order (all
        without a mask).

        frames: standardized, of the training size; (B, 3, H, W) for single frames, (B, T, 3, H, W) for clips.
        """
        return self.encode(self.embed(frames, mask), None if mask is None else mask.visible_ids)

    def embed(self, frames: Float[Tensor, "B *T 3 H W"], mask: Mask | None = None) -> Float[Tensor, "B V D"]:
        """Patch embeddings of the visible patches with their positions; no class token yet."""
        ids = None if mask is None else mask.visible_ids
        return self.patch_embed(frames, ids) + self._positions_of(ids, len(frames))

    def embed_patches(self, patches: Float[Tensor, "B V P"], ids: Int64[Tensor, "B V"]) -> Float[Tensor, "B V D"]:
        """`embed` for patches that are cut out and taken already: the standardized pixels of the tokens `ids`."""
        return self.patch_embed.embed(patches) + self._positions_of(ids, len(patches))

    def _positions_of(self, ids: Int64[Tensor, "B V"] | None, batch: int) -> Float[Tensor, "B V D"]:
        positions = self.patch_positions().expand(batch, -1, -1)
        return positions if ids is None else take_tokens(positions, ids)

    def encode(
        self, patches: Float[Tensor, "B V D"], ids: Int64[Tensor, "B V"] | None = None
    ) -> Float[Tensor, "B V1 D"]:
        """Embedded patches through the blocks and the final norm, the class token and registers (if any) before them.

        ids: which tokens of the training clip they are; without, all of them. Only positions inside attention ask.
        """
        return self.norm(self.through_blocks(patches, self.config.depth, ids=ids))

    def through_blocks(
        self,
        patches: Float[Tensor, "B V D"],
        depth: int,
        *,
        ids: Int64[Tensor, "B V"] | None = None,
        grid: Grid | None = None,
        window: int | None = None,
    ) -> Float[Tensor, "B V1 D"]:
        """Embedded patches through the first `depth` blocks, not normed, with class token and registers before them.

        ids, grid: which tokens of a clip of which size they are, as in `encode`; the grid is that of training without.
        window: side, in tokens, of the windows that attention is limited to (`models.windows`). Means nothing without
        a grid, for several times, and for positions inside attention, which count from token to token anyway.
        """
        relation = self._relation(patches, ids, grid)
        if window is not None and grid is not None and grid[0] == 1 and relation is None:
            prefix = patches.new_zeros(len(patches), 0, patches.shape[2])
            prefix = torch.cat([prefix, *self._leading(len(patches))], dim=1)
            return run_blocks_in_windows(self.blocks[:depth], patches, prefix, grid=grid[1:], window=window)
        tokens = torch.cat([*self._leading(patches.shape[0]), patches], dim=1)
        for block in self.blocks[:depth]:
            tokens = block(tokens) if relation is None else block(tokens, relation)
        return tokens

    def _leading(self, batch: int) -> list[Float[Tensor, "B C D"]]:
        leading = []
        if self.cls_token is not None:
            leading.append((self.cls_token + self.class_position()).expand(batch, -1, -1))
        if self.register_tokens is not None:
            leading.append(self.register_tokens.expand(batch, -1, -1))
        return leading

    def _relation(self, patches: Tensor, ids: Int64[Tensor, "B V"] | None, grid: Grid | None) -> Relation | None:
        kind = self.config.positions
        if not kind.startswith(("rotary", "relative")):
            return None
        if ids is None and grid is None and patches.shape[1] != self.config.num_tokens:
            raise ConfigError(f"{kind} positions of unknown tokens", where="ViT.encode", fix="give their ids")
        grid = grid or self.config.clip_grid
        if kind.startswith("rotary"):
            return Relation(grid, ids, rotation=rotation(self.config, grid, ids, patches.device))
        bias = None if self.rel_pos_bias is None else self.rel_pos_bias(grid[1:], ids)
        return Relation(grid, ids, bias=bias)

    @torch.no_grad()
    def tensors_at(self, num_frames: int, image_size: int, how: Positions) -> dict[str, Tensor]:
        """The state of the same network built for clips of another length and size: only positions are resampled.

        ConfigError where the new clip does not divide into tubelets and patches.
        """
        config = replace(self.config, num_frames=num_frames, image_size=image_size)
        tables = {
            f"{name}.relative_position_bias_table": module.table_at(config.grid)
            for name, module in self.named_modules()
            if isinstance(module, RelativePositions)
        }
        return {**self.state_dict(), **self.position_tensors_at(config.clip_grid, how), **tables}

    def dense(
        self,
        frames: Float[Tensor, "B 3 H W"],
        *,
        layer: int = -1,
        positions: Positions = "interpolated",
        window: int | None = None,
    ) -> Float[Tensor, "B h w D"]:
        """Patch features of single frames of any size that divides into patches: block `layer`'s output, normed.

        An encoder of tubelets sees each frame repeated over one tubelet, at the first time of its training clips.
        layer: 1 is the first block, -1 the last, 0 the middle one. positions: how the position embedding reaches the
        new grid. window: see `through_blocks`.
        """
        clips = frames[:, None].expand(-1, self.config.tubelet_size, -1, -1, -1)
        return self.dense_clips(clips, layer=layer, positions=positions, window=window).squeeze(1)

    def dense_clips(
        self,
        clips: Float[Tensor, "B T 3 H W"],
        *,
        layer: int = -1,
        positions: Positions = "interpolated",
        window: int | None = None,
    ) -> Float[Tensor, "B t h w D"]:
        """Patch features of clips of any length and size that divide into tubelets, as from `dense`."""
        tokens = self.tokens(clips, layer=layer, positions=positions, window=window)
        return tokens[:, self.num_class_tokens :].unflatten(1, self._grid_of(clips))

    def tokens(
        self,
        clips: Float[Tensor, "B T 3 H W"],
        *,
        layer: int = -1,
        positions: Positions = "interpolated",
        window: int | None = None,
    ) -> Float[Tensor, "B N1 D"]:
        """What `dense_clips` makes a grid of, the class token and registers (if any) still before it."""
        last = self.find_block(layer)
        grid = self._grid_of(clips)
        placed = self.patch_embed(clips) + self.positions_at(grid, positions)
        return self.norm(self.through_blocks(placed, last, grid=grid, window=window))

    def find_block(self, layer: int) -> int:
        """The number of the block that a layer names, from 1; see `FeatureSettings.layer`.

        Raises ConfigError if the encoder has no such block.
        """
        depth = self.config.depth
        number = max(depth // 2, 1) if layer == 0 else layer if layer > 0 else depth + 1 + layer
        if not 1 <= number <= depth:
            raise ConfigError(f"layer {layer} of an encoder of {depth} blocks", where="layer", fix=f"use 1 to {depth}")
        return number

    def _grid_of(self, clips: Float[Tensor, "B T 3 H W"]) -> Grid:
        _, num_frames, _, height, width = clips.shape
        patch = self.config.patch_size
        return num_frames // self.config.tubelet_size, height // patch, width // patch


def _block(config: ViTConfig, drop_path: float) -> Block:
    return Block(
        config.width,
        config.num_heads,
        config.mlp_width,
        qkv_bias=config.qkv_bias,
        norm_eps=config.norm_eps,
        drop_path=drop_path,
        mlp=config.mlp,
        layer_scale=config.layer_scale,
        relative_grid=config.grid if config.positions == "relative" else None,
    )
