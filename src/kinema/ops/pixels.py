"""Between uint8 pixels and the standardized values that networks see."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.settings import IMAGENET_MEAN, IMAGENET_STD

Channels = tuple[float, float, float]


def standardize(
    frames: UInt8[Tensor, "*B 3 H W"], mean: Channels = IMAGENET_MEAN, std: Channels = IMAGENET_STD
) -> Float[Tensor, "*B 3 H W"]:
    """(frames / 255 - mean) / std for each channel."""
    return (frames / 255 - _channels(mean, frames.device)) / _channels(std, frames.device)


def standardize_patches(
    patches: UInt8[Tensor, "B N P"], mean: Channels = IMAGENET_MEAN, std: Channels = IMAGENET_STD
) -> Float[Tensor, "B N P"]:
    """`standardize` for pixels that are cut into patches already, channel fastest."""
    pixels = patches.unflatten(-1, (-1, 3))
    standardized = (pixels / 255 - torch.tensor(mean, device=patches.device)) / torch.tensor(std, device=patches.device)
    return standardized.flatten(-2)


def to_unit_range(
    standardized: Float[Tensor, "*B 3 H W"], mean: Channels = IMAGENET_MEAN, std: Channels = IMAGENET_STD
) -> Float[Tensor, "*B 3 H W"]:
    """The inverse of `standardize` in [0, 1], clipped: for pictures."""
    device = standardized.device
    return (standardized * _channels(std, device) + _channels(mean, device)).clamp(0, 1)


def _channels(values: Channels, device: torch.device) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(values, device=device)[:, None, None]
