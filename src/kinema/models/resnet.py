"""ResNet-18 and ResNet-50 as dense extractors at stride 8: the networks that CRW, VFS, UVC and DUL are about."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.models.positions import Positions
from kinema.settings import IMAGENET_MEAN, IMAGENET_STD

Stage = Literal["res3", "res4", "res5"]
"""In the papers' count; `layer2`, `layer3` and `layer4` of torchvision."""
Padding = Literal["zeros", "reflect"]
STRIDE = 8
_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
_STAGES = ("res2", "res3", "res4", "res5")


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """A ResNet (He et al. 2016) whose later stages keep the stride of 8."""

    depth: Literal[18, 50]
    stage: Stage = "res4"
    """Whose output is read."""
    dilated: bool = False
    """Widen the kernels of stages beyond res3 by what they no longer stride over, as for segmentation; the papers of
    propagation leave them as they are (unit stride alone)."""
    padding: Padding = "zeros"
    """What convolutions see beyond the frame; `reflect` in CRW's own network."""
    lightness: bool = False
    """See lightness alone, in all three channels (UVC): L of CIE Lab from 0 to 255, less 128, over 128."""


class ResNet(nn.Module):
    """The convolutions and batch norms up to the stage that is read; parameter names are torchvision's."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False, padding_mode=config.padding)
        self.bn1 = nn.BatchNorm2d(64)
        width, expansion = 64, 4 if config.depth == 50 else 1
        for number in range(_STAGES.index(config.stage) + 1):
            channels = 64 * 2**number
            stage = _stage(config, number, width, channels)
            width = channels * expansion
            self.add_module(f"layer{number + 1}", stage)

    @property
    def patch_size(self) -> int:
        """Pixels between neighboring features."""
        return STRIDE

    def dense(
        self, frames: Float[Tensor, "B 3 H W"], *, layer: int = -1, positions: Positions = "interpolated"
    ) -> Float[Tensor, "B h w D"]:
        """The stage's output, after its last ReLU, of frames of any size that divides by 8.

        frames: standardized by ImageNet's statistics. layer: -1 or 0 is the stage that is read; 1 to 3 are res2 to
        res4, of which res2 has a stride of 4 and is refused. positions: means nothing here.
        """
        if layer not in (-1, 0, *range(2, _STAGES.index(self.config.stage) + 2)):
            raise ConfigError(f"layer {layer} of a ResNet read at {self.config.stage}", where="layer", fix="use -1")
        last = _STAGES.index(self.config.stage) + 1 if layer in (-1, 0) else layer
        features = F.relu(self.bn1(self.conv1(_lightness(frames) if self.config.lightness else frames)))
        features = F.max_pool2d(features, 3, stride=2, padding=1)
        for number in range(last):
            features = self.get_submodule(f"layer{number + 1}")(features)
        return features.permute(0, 2, 3, 1)


class ResidualBlock(nn.Module):
    """Convolutions with batch norms beside a short cut: two of 3x3, or 1x1, 3x3, 1x1 with the stride in the second."""

    def __init__(
        self, inside: int, channels: int, *, bottleneck: bool, stride: int, dilation: int, padding: Padding
    ) -> None:
        super().__init__()
        outside = 4 * channels if bottleneck else channels
        around: dict[str, Any] = {
            "padding": dilation,
            "dilation": dilation,
            "bias": False,
            "padding_mode": padding,
        }
        if bottleneck:
            self.conv1 = nn.Conv2d(inside, channels, 1, bias=False)
            self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, **around)
            self.conv3 = nn.Conv2d(channels, outside, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(outside)
        else:
            self.conv1 = nn.Conv2d(inside, channels, 3, stride=stride, **around)
            self.conv2 = nn.Conv2d(channels, channels, 3, **around)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.bottleneck = bottleneck
        self.downsample = None
        if stride > 1 or inside != outside:
            shortcut = nn.Conv2d(inside, outside, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outside))

    def forward(self, features: Float[Tensor, "B D H W"]) -> Float[Tensor, "B E h w"]:
        shortcut = features if self.downsample is None else self.downsample(features)
        features = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(features)))))
        if self.bottleneck:
            features = self.bn3(self.conv3(F.relu(features)))
        return F.relu(features + shortcut)


def _stage(config: ResNetConfig, number: int, inside: int, channels: int) -> nn.Sequential:
    """Stage `number` (0 is res2): it strides by 2 only where the stride is below 8 before it."""
    bottleneck = config.depth == 50
    dilations = (1, 1, 2, 4) if config.dilated else (1, 1, 1, 1)
    blocks = []
    for place in range(_BLOCKS[config.depth][number]):
        dilation = dilations[number] if place else dilations[max(number - 1, 0)]
        stride = 2 if number == 1 and place == 0 else 1
        block = ResidualBlock(
            inside,
            channels,
            bottleneck=bottleneck,
            stride=stride,
            dilation=dilation,
            padding=config.padding,
        )
        blocks.append(block)
        inside = channels * (4 if bottleneck else 1)
    return nn.Sequential(*blocks)


def _lightness(frames: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """CIE L of frames that were standardized by ImageNet's statistics, from 0 to 255, less 128, over 128."""
    mean, std = (frames.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = (frames * std + mean).clamp(0, 1)
    linear = torch.where(pixels > 0.04045, ((pixels + 0.055) / 1.055) ** 2.4, pixels / 12.92)
    luminance = (linear * frames.new_tensor([0.212671, 0.715160, 0.072169])[:, None, None]).sum(dim=1, keepdim=True)
    lightness = torch.where(luminance > 0.008856, 116 * luminance ** (1 / 3) - 16, 903.3 * luminance)
    return ((lightness * 2.55 - 128) / 128).expand(-1, 3, -1, -1)
