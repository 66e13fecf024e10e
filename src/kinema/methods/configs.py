"""What each method can be set to. Free of torch, so that recipes and `--help` show it at once."""

from dataclasses import dataclass
from typing import Literal

from kinema.errors import ConfigError
from kinema.methods.ino_config import INOConfig
from kinema.methods.vicmae_config import ViCMAEConfig
from kinema.models.vit_config import (
    DecoderConfig,
    MaskedDecoderConfig,
    ViTConfig,
    check_decoded,
    check_position_width,
    video_vit,
)


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
    """Predict each patch with its mean and contrast taken out, or plain standardized pixels."""

    def __post_init__(self) -> None:
        check_decoded(self.encoder)
        if self.decoding == "joint" and self.block_order == "post_norm":
            raise ConfigError("the joint decoder has no post-norm order", where="block_order", fix="use pre_norm")
        if self.decoding == "joint" and not self.memory_positions:
            raise ConfigError("a joint decoder needs positions on both frames", where="memory_positions", fix="keep it")


@dataclass(frozen=True, kw_only=True)
class VideoMAEConfig:
    """VideoMAE (Tong et al. 2022, arXiv:2203.12602) and its relatives: V2, MAE-ST, and MAE on images (one frame)."""

    encoder: ViTConfig = video_vit("small")
    decoder: MaskedDecoderConfig = MaskedDecoderConfig()
    mask: Literal["tube", "random", "frame"] = "tube"
    """What is hidden: the same places at every time; any tokens (MAE, MAE-ST); whole times."""
    mask_ratio: float = 0.9
    """Share hidden from the encoder, in [0, 1)."""
    floor: Literal["visible", "masked"] = "masked"
    """Which count is rounded down: the hidden one (VideoMAE: 90 % of 196 leaves 20) or the visible one (MAE)."""
    decoder_mask_ratio: float = 0.0
    """Share of all tokens that the decoder neither sees nor predicts, by running cells: 0, 0.25, 0.5 (V2) or 0.75."""
    target: Literal["channel_normalized", "patch_normalized", "raw"] = "channel_normalized"
    """Pixels with mean and contrast taken out of each tubelet: channel by channel (VideoMAE), or over all its values
    together (MAE, MAE-ST); or plain pixels."""
    target_pixels: Literal["unit", "standardized"] = "unit"
    """What targets are made of: pixels in [0, 1] (VideoMAE), or standardized as the encoder sees them (MAE)."""
    target_frames: Literal["all", "half", "center"] = "all"
    """Frames to predict: all; every other one (MAE-ST); the one at the middle of the clip (an ablation of VideoMAE)."""
    loss: Literal["mse", "l1", "smooth_l1"] = "mse"
    """Mean over all hidden pixels of the squared error, the absolute error, or the one that turns from the first to the
    second at an error of 1."""

    def __post_init__(self) -> None:
        encoder, times = self.encoder, self.encoder.clip_grid[0]
        check_decoded(encoder)
        check_position_width(encoder.positions, self.decoder.width)
        if self.decoder_mask_ratio not in (0, 0.25, 0.5, 0.75):
            raise ConfigError(
                f"decoder mask ratio {self.decoder_mask_ratio}",
                where="decoder_mask_ratio",
                fix="use 0, 0.25, 0.5, 0.75",
            )
        if self.decoder_mask_ratio and (self.mask != "tube" or times % 4):
            raise ConfigError(
                f"running cells with a {self.mask} mask of {times} times",
                where="decoder_mask_ratio",
                fix="use the tube mask and a multiple of 4 times: otherwise clips differ in what they predict",
            )
        if self.target_frames == "center" and (self.mask != "tube" or self.decoder_mask_ratio):
            raise ConfigError(
                "the center frame alone is hidden equally in all clips only by a whole tube mask",
                where="target_frames",
                fix="use the tube mask and decoder_mask_ratio 0",
            )
        if self.target_frames == "half" and encoder.tubelet_size % 2:
            raise ConfigError(
                f"no half of a tubelet of {encoder.tubelet_size}", where="target_frames", fix="use an even tubelet size"
            )

    @property
    def target_offsets(self) -> tuple[int, ...]:
        """The frames within a tubelet that its token predicts."""
        tubelet = self.encoder.tubelet_size
        center = self.encoder.num_frames // 2 % tubelet
        return {"all": tuple(range(tubelet)), "half": tuple(range(0, tubelet, 2)), "center": (center,)}[
            self.target_frames
        ]


MethodConfig = SiamMAEConfig | VideoMAEConfig | INOConfig | ViCMAEConfig
"""What a recipe may hold."""
