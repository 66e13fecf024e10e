"""From an encoder of single frames to one of tubelets that begins as it: the tokens of a still clip are its frame's.

Without a class token its features are the frame's as well; a class token weighs less among more tokens.
"""

from dataclasses import replace

import torch
from torch import Tensor

from kinema.errors import ConfigError
from kinema.models.positions import Positions
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig


def inflated_config(config: ViTConfig, *, num_frames: int, tubelet_size: int, image_size: int) -> ViTConfig:
    """The encoder of clips: positions are learned, a place's plus a time's. ConfigError where it has clips already."""
    if config.num_frames > 1 or config.tubelet_size > 1:
        fix = "leave tubelet_size at 1: they have their own"
        raise ConfigError("these weights are of clips", where="--method.tubelet-size", fix=fix)
    return replace(
        config, num_frames=num_frames, tubelet_size=tubelet_size, image_size=image_size, positions="separable"
    )


@torch.no_grad()
def inflated_tensors(encoder: ViT, config: ViTConfig, how: Positions) -> dict[str, Tensor]:
    """The state of the encoder of `config` (`inflated_config`'s).

    The patch projection is copied to each frame of a tubelet and divided by their number (Carreira & Zisserman 2017,
    arXiv:1705.07750, section 2); places keep their positions, resampled where the size differs, and all times begin at
    0, so that training tells them apart.
    """
    tensors = encoder.tensors_at(1, config.image_size, how)
    positions = tensors.pop("pos_embed")  # (1, C + N, D)
    leading = int(config.class_token)
    weight = tensors["patch_embed.proj.weight"]
    tensors["patch_embed.proj.weight"] = (
        weight[:, :, None].repeat(1, 1, config.tubelet_size, 1, 1) / config.tubelet_size
    )
    tensors["pos_embed.spatial"] = positions[:, None, leading:].clone()
    tensors["pos_embed.temporal"] = positions.new_zeros(1, config.clip_grid[0], 1, config.width)
    if leading:
        tensors["pos_embed.class_token"] = positions[:, :leading].clone()
    return tensors
