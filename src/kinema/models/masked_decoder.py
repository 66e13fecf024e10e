"""The decoder of masked autoencoders without a memory: it predicts hidden patches from the visible ones alone."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.layers import Block, init_linear, init_token, layer_norm
from kinema.models.positions import Positioned
from kinema.models.vit_config import MaskedDecoderConfig, ViTConfig, check_decoded
from kinema.ops.masking import Mask
from kinema.ops.tokens import take_tokens


class MaskedDecoder(Positioned):
    """Visible tokens and mask tokens through plain blocks (He et al. 2022; Tong et al. 2022).

    The visible tokens go through one linear map. A mask token stands for each target; patches that the mask ignores
    never enter (VideoMAE V2's dual masking). Positions tell tokens apart, so their order means nothing.
    """

    def __init__(self, config: MaskedDecoderConfig, encoder: ViTConfig, *, patch_values: int) -> None:
        check_decoded(encoder)
        super().__init__(encoder.positions, encoder.clip_grid, config.width, class_token=encoder.class_token)
        self.embed = nn.Linear(encoder.width, config.width, bias=config.embed_bias)
        self.mask_token = nn.Parameter(torch.empty(1, 1, config.width))
        mlp_width = config.mlp_width or 4 * config.width
        self.blocks = nn.ModuleList(
            Block(config.width, config.num_heads, mlp_width, qkv_bias=encoder.qkv_bias, norm_eps=config.norm_eps)
            for _ in range(config.depth)
        )
        self.norm = layer_norm(config.width, config.last_norm_eps or config.norm_eps)
        self.pred = nn.Linear(config.width, patch_values)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Fills every parameter and buffer."""
        self.apply(init_linear)
        init_token(self.mask_token)
        self.init_positions()

    def forward(self, visible: Float[Tensor, "B V1 D"], mask: Mask) -> Float[Tensor, "B M P"]:
        """Predictions for the mask's targets, in their order.

        visible: the encoder's output, the class token (if any) first.
        """
        positions = self.patch_positions().expand(len(visible), -1, -1)
        class_token, seen = self.embed(visible).split([self.num_class_tokens, mask.visible_ids.shape[1]], dim=1)
        tokens = torch.cat(
            [
                class_token + self.class_position(),
                seen + take_tokens(positions, mask.visible_ids),
                self.mask_token + take_tokens(positions, mask.target_ids),
            ],
            dim=1,
        )
        for block in self.blocks:
            tokens = block(tokens)
        return self.pred(self.norm(tokens[:, -mask.target_ids.shape[1] :]))
