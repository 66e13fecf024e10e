"""Frozen features: frames in, a grid of vectors out, exactly as the settings say."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.models.vit import Positions
from kinema.ops.pixels import standardize
from kinema.ops.precision import autocast, resolve_precision
from kinema.ops.tokens import patchify
from kinema.settings import FeatureSettings

INTERPOLATION = {"bilinear": "INTER_LINEAR", "bicubic": "INTER_CUBIC", "area": "INTER_AREA"}

DEFAULT_SETTINGS = FeatureSettings()


@runtime_checkable
class Backbone(Protocol):
    """A network that gives one vector a patch."""

    @property
    def patch_size(self) -> int:
        """Side of a square patch, in pixels."""
        ...

    def dense(self, frames: Float[Tensor, "B 3 H W"], *, layer: int, positions: Positions) -> Float[Tensor, "B h w D"]:
        """Patch features of standardised frames whose size divides into patches."""
        ...


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """Where a network came from; goes into every result made with it."""

    source: str
    sha256: str | None
    """Of the tensors' file; None where there is none (raw pixels)."""


class PixelPatches(nn.Module):
    """Raw pixels as features: the baseline that shows how far plain appearance goes."""

    def __init__(self, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size

    def dense(self, frames: Float[Tensor, "B 3 H W"], *, layer: int, positions: Positions) -> Float[Tensor, "B h w D"]:
        """The standardised pixels of each patch; layer and positions mean nothing here."""
        grid = (frames.shape[2] // self.patch_size, frames.shape[3] // self.patch_size)
        return patchify(frames, self.patch_size).unflatten(1, grid)


class FeatureExtractor:
    """A backbone with the settings under which it is read."""

    def __init__(
        self,
        backbone: Backbone,
        settings: FeatureSettings = DEFAULT_SETTINGS,
        *,
        source: WeightsSource,
        device: torch.device | str = "cpu",
    ) -> None:
        self.backbone = backbone
        self.settings = settings
        self.source = source
        self.device = torch.device(device)

    def with_settings(self, settings: FeatureSettings) -> "FeatureExtractor":
        """The same network read differently; the weights are shared."""
        return FeatureExtractor(self.backbone, settings, source=self.source, device=self.device)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in pixels at which the network sees frames of the given size."""
        size = self.settings.size.of(height, width)
        patch = self.backbone.patch_size
        if size[0] % patch or size[1] % patch:
            raise ConfigError(
                f"input size {size[0]}x{size[1]} does not divide into patches of {patch} pixels",
                where=f"frames of {height}x{width}",
                fix="choose a size, or a rounding, that is a multiple of the patch",
            )
        return size

    def dense(self, frames: UInt8[np.ndarray, "T H W 3"]) -> Float[Tensor, "T h w D"]:
        """Features of each frame by itself. With `settings.centred`, the first frame's mean is taken off all."""
        return torch.stack(list(self.stream(frames)))

    def stream(self, frames: Iterable[UInt8[np.ndarray, "H W 3"]]) -> Iterator[Float[Tensor, "h w D"]]:
        """Features frame by frame, one frame in memory at a time."""
        mean = None
        for frame in frames:
            features = self._one(frame)
            if self.settings.centred:
                mean = features.mean(dim=(0, 1)) if mean is None else mean
                features = features - mean
            yield features

    @torch.inference_mode()
    def _one(self, frame: UInt8[np.ndarray, "H W 3"]) -> Float[Tensor, "h w D"]:
        settings = self.settings
        pixels = torch.from_numpy(self._resize(frame)).permute(2, 0, 1)[None].to(self.device)
        standardized = standardize(pixels, settings.mean, settings.std)
        with autocast(resolve_precision(settings.precision, self.device), self.device):
            features = self.backbone.dense(standardized, layer=settings.layer, positions=settings.positions)
        return features[0].float()

    def _resize(self, frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
        import cv2

        height, width = self.input_size(*frame.shape[:2])
        if frame.shape[:2] == (height, width):
            return np.ascontiguousarray(frame)
        return cv2.resize(frame, (width, height), interpolation=getattr(cv2, INTERPOLATION[self.settings.resize]))
