"""What each method can be set to. Free of torch, so that recipes and `--help` show it at once."""

from dataclasses import dataclass
from typing import Literal

from kinema.errors import ConfigError
from kinema.models.configs import DecoderConfig, ViTConfig


@dataclass(frozen=True, kw_only=True)
class SiamMAEConfig:
    """SiamMAE (Gupta et al. 2023, arXiv:2305.14344). Where the paper is silent, the default is MAE's."""

    encoder: ViTConfig = ViTConfig()
    decoder: DecoderConfig = DecoderConfig()
    mask_ratio: float = 0.95
    """Share of the future frame's patches hidden from the encoder, in [0, 1); the visible count is rounded down."""
    past_mask_ratio: float = 0.0
    """Share of the past frame's patches hidden; 0 is the paper's asymmetric masking, `mask_ratio` the symmetric one."""
    encoding: Literal["siamese", "joint"] = "siamese"
    """Each frame through the encoder by itself, or the visible patches of both together (the paper's Table 2)."""
    decoding: Literal["joint", "cross", "cross_self"] = "cross_self"
    """What a decoder block attends to: both frames as one token set; the past only; the past, then the future."""
    block_order: Literal["pre_norm", "post_norm"] = "pre_norm"
    """`pre_norm`: cross, self, MLP. `post_norm`: cross, MLP, self, normed after each (as CropMAE does it)."""
    memory_positions: bool = True
    """Add the decoder's positions to the past frame's tokens as well. The paper does not say; CropMAE does not."""
    target: Literal["normalized", "raw"] = "normalized"
    """Predict each patch with its mean and contrast taken out, or plain standardised pixels."""

    def __post_init__(self) -> None:
        if self.decoding == "joint" and self.block_order == "post_norm":
            raise ConfigError("the joint decoder has no post-norm order", where="block_order", fix="use pre_norm")
        if self.decoding == "joint" and not self.memory_positions:
            raise ConfigError("a joint decoder needs positions on both frames", where="memory_positions", fix="keep it")


MethodConfig = SiamMAEConfig
"""What a recipe may hold: a union, once there are more methods."""
