"""Frozen features: frames in, a grid of vectors out, exactly as the settings say."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from kinema.errors import ConfigError, WeightsError
from kinema.models.decoders import PatchDecoder
from kinema.models.positions import Positions
from kinema.models.vit import ViT
from kinema.ops.pixels import standardize
from kinema.ops.precision import autocast, resolve_precision
from kinema.ops.tokens import patchify
from kinema.settings import (
    DINO_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    FeatureSettings,
    InputSize,
    Interpolation,
    Pooling,
)

OPENCV_FLAGS = {
    "nearest": "INTER_NEAREST_EXACT",
    "bilinear": "INTER_LINEAR",
    "bicubic": "INTER_CUBIC",
    "area": "INTER_AREA",
}

DEFAULT_SETTINGS = FeatureSettings()


@runtime_checkable
class Backbone(Protocol):
    """A network that gives one vector a patch."""

    @property
    def patch_size(self) -> int:
        """Side of a square patch, in pixels."""
        ...

    def dense(self, frames: Float[Tensor, "B 3 H W"], *, layer: int, positions: Positions) -> Float[Tensor, "B h w D"]:
        """Patch features of standardized frames whose size divides into patches."""
        ...


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """Where a network came from; goes into every result made with it."""

    source: str
    sha256: str | None
    """Of the tensors' file; None where there is none (raw pixels)."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """What the network was trained to see pixels in [0, 1] standardized by, with `std`."""
    std: tuple[float, float, float] = IMAGENET_STD

    def adapt_settings(self, settings: FeatureSettings) -> FeatureSettings:
        """Settings for this network: where it has other pixel statistics than ImageNet's, they take the place of those
        (and of DINO's slip for them, 0.228), which protocols name; any other statistics stay as they are set."""
        is_usual = (self.mean, self.std) == (IMAGENET_MEAN, IMAGENET_STD)
        if is_usual or settings.mean != IMAGENET_MEAN or settings.std not in (IMAGENET_STD, DINO_STD):
            return settings
        return replace(settings, mean=self.mean, std=self.std)


class QueriesAndKeys(NamedTuple):
    """What a frame's tokens look for in earlier frames, and what they are found by in later ones."""

    queries: Float[Tensor, "h w D"]
    keys: Float[Tensor, "h w D"] | None
    """None where they are the queries."""


class PixelPatches(nn.Module):
    """Raw pixels as features: the baseline that shows how far plain appearance goes."""

    def __init__(self, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size

    def dense(self, frames: Float[Tensor, "B 3 H W"], *, layer: int, positions: Positions) -> Float[Tensor, "B h w D"]:
        """The standardized pixels of each patch; layer and positions mean nothing here."""
        grid = (frames.shape[2] // self.patch_size, frames.shape[3] // self.patch_size)
        return patchify(frames, self.patch_size).unflatten(1, grid)


class FeatureExtractor:
    """A backbone with the settings under which it is read.

    decoder: gives the one that was trained with it, where there is one; asked for where `settings.affinity` says so.
    """

    def __init__(
        self,
        backbone: Backbone,
        settings: FeatureSettings = DEFAULT_SETTINGS,
        *,
        source: WeightsSource,
        device: torch.device | str = "cpu",
        decoder: Callable[[], PatchDecoder] | None = None,
    ) -> None:
        self.backbone = backbone
        self.settings = source.adapt_settings(settings)
        self.source = source
        self.device = torch.device(device)
        self.decoder = decoder
        if settings.affinity == "decoder":
            self._find_decoder()  # to be refused now, and not after hours

    def with_settings(self, settings: FeatureSettings) -> "FeatureExtractor":
        """The same network read differently; the weights are shared."""
        return FeatureExtractor(self.backbone, settings, source=self.source, device=self.device, decoder=self.decoder)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in pixels at which the network sees frames of the given size."""
        size = self.settings.size.of(height, width)
        patch = self.backbone.patch_size
        if size[0] % patch or size[1] % patch:
            raise ConfigError(
                f"input size {size[0]}x{size[1]} does not divide into patches of {patch} pixels",
                where=f"frames of {height}x{width}",
                fix=f"set {_fitting(self.settings.size, patch)}",
            )
        return size

    def dense(self, frames: UInt8[np.ndarray, "T H W 3"]) -> Float[Tensor, "T h w D"]:
        """Features of each frame by itself. With `settings.centered`, the first frame's mean is taken off all."""
        return torch.stack(list(self.stream(frames)))

    def stream(self, frames: Iterable[UInt8[np.ndarray, "H W 3"]]) -> Iterator[Float[Tensor, "h w D"]]:
        """Features frame by frame, one frame (or tubelet) in memory at a time."""
        mean = None
        clip: deque[Tensor] = deque(maxlen=self._frames_at_once)
        for frame in frames:
            pixels = self._standardized(frame)
            if clip and clip[-1].shape != pixels.shape:  # no tubelet has two sizes
                clip.clear()
            clip.extend([pixels] * (1 if clip else self._frames_at_once))
            features = self._last_of(clip)
            if self.settings.centered:
                mean = features.mean(dim=(0, 1)) if mean is None else mean
                features = features - mean
            yield features

    def stream_queries_and_keys(self, frames: Iterable[UInt8[np.ndarray, "H W 3"]]) -> Iterator[QueriesAndKeys]:
        """What `settings.affinity` compares, frame by frame: features, or a decoder's queries and keys."""
        if self.settings.affinity == "features":
            yield from (QueriesAndKeys(features, None) for features in self.stream(frames))
            return
        for frame in frames:
            yield self._asked(self._standardized(frame))

    @torch.inference_mode()
    def _asked(self, pixels: Float[Tensor, "1 3 H W"]) -> QueriesAndKeys:
        settings, (encoder, decoder) = self.settings, self._find_decoder()
        grid = (pixels.shape[2] // encoder.patch_size, pixels.shape[3] // encoder.patch_size)
        with autocast(resolve_precision(settings.precision, self.device), self.device):
            tokens = encoder.tokens(pixels[:, None], positions=settings.positions)
            asked = decoder.queries_and_keys(tokens, grid, block=settings.decoder_block, positions=settings.positions)
        return QueriesAndKeys(*(part[0].float() for part in asked))

    def _find_decoder(self) -> tuple[ViT, PatchDecoder]:
        if self.decoder is None or not isinstance(self.backbone, ViT):
            raise WeightsError(
                "these weights have no decoder that attends from frame to frame",
                where=self.source.source,
                fix="give the run folder of a SiamMAE, or leave features.affinity at features",
            )
        return self.backbone, self.decoder()

    @torch.inference_mode()
    def clip(self, frames: UInt8[np.ndarray, "T H W 3"]) -> Float[Tensor, "t h w D"]:
        """Features of a clip as one: an encoder of tubelets sees them together, one of single frames each by itself.

        A clip that is shorter than a tubelet repeats its last frame; ConfigError where another does not divide.
        """
        clips, settings, backbone = self._clips(frames), self.settings, self.backbone
        with autocast(resolve_precision(settings.precision, self.device), self.device):
            read: dict[str, Any] = {"layer": settings.layer, "positions": settings.positions}
            if not isinstance(backbone, ViT):
                return backbone.dense(clips[:, 0], **read).float()
            return backbone.dense_clips(clips, **read, window=settings.attention_window).flatten(0, 1).float()

    @torch.inference_mode()
    def pooled(self, frames: UInt8[np.ndarray, "T H W 3"], pooling: Pooling) -> Float[Tensor, " D"]:
        """One vector of a clip, as `clip` sees it; of an encoder of single frames the mean over frames.

        `last4_class` takes four passes. ConfigError where an encoder has no class token to read.
        """
        if pooling == "mean":
            return self.clip(frames).mean(dim=(0, 1, 2))
        clips, settings, backbone = self._clips(frames), self.settings, self.backbone
        if not isinstance(backbone, ViT) or not backbone.config.class_token:
            raise ConfigError("no class token to read", where=f"pooling {pooling}", fix="use pooling mean")
        last = backbone.find_block(settings.layer)
        layers = range(max(last - 3, 1), last + 1) if pooling == "last4_class" else [last]
        with autocast(resolve_precision(settings.precision, self.device), self.device):
            read = [backbone.tokens(clips, layer=layer, positions=settings.positions).float() for layer in layers]
        parts = [tokens[:, 0] for tokens in read]
        if pooling == "class_mean":
            parts.append(read[0][:, backbone.num_class_tokens :].mean(dim=1))
        return torch.cat(parts, dim=1).mean(dim=0)

    def _clips(self, frames: UInt8[np.ndarray, "T H W 3"]) -> Float[Tensor, "B t 3 h w"]:
        """What the network sees of a clip: the whole for an encoder of tubelets, else each frame as one."""
        pixels = torch.cat([self._standardized(frame) for frame in frames])  # (T, 3, h, w)
        if not isinstance(self.backbone, ViT) or self.backbone.config.num_frames == 1:
            return pixels[:, None]
        tubelet = self.backbone.config.tubelet_size
        if len(pixels) < tubelet:
            pixels = torch.cat([pixels, pixels[-1:].expand(tubelet - len(pixels), -1, -1, -1)])
        if len(pixels) % tubelet:
            fix = f"read a multiple of {tubelet}"
            raise ConfigError(f"{len(pixels)} frames and tubelets of {tubelet}", where="the clip", fix=fix)
        return pixels[None]

    @property
    def _frames_at_once(self) -> int:
        if self.settings.tubelet == "slide" and isinstance(self.backbone, ViT):
            return self.backbone.config.tubelet_size
        return 1

    def _standardized(self, frame: UInt8[np.ndarray, "H W 3"]) -> Float[Tensor, "1 3 h w"]:
        pixels = torch.from_numpy(self._resize(frame)).permute(2, 0, 1)[None].to(self.device)
        return standardize(pixels, self.settings.mean, self.settings.std)

    @torch.inference_mode()
    def _last_of(self, clip: deque[Tensor]) -> Float[Tensor, "h w D"]:
        """The features of a clip's last frame: of that frame alone, or of the tubelet that ends with it."""
        settings, backbone = self.settings, self.backbone
        read: dict[str, Any] = {"layer": settings.layer, "positions": settings.positions}
        if isinstance(backbone, ViT):  # other networks have no attention to limit
            read["window"] = settings.attention_window
        with autocast(resolve_precision(settings.precision, self.device), self.device):
            if len(clip) > 1 and isinstance(backbone, ViT):
                features = backbone.dense_clips(torch.stack(list(clip), dim=1), **read).squeeze(1)
            else:
                features = backbone.dense(clip[-1], **read)
        return features[0].float()

    def _resize(self, frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
        return resize_frame(frame, self.input_size(*frame.shape[:2]), self.settings.resize)


def resize_frame(
    frame: UInt8[np.ndarray, "H W *channels"], size: tuple[int, int], interpolation: Interpolation
) -> UInt8[np.ndarray, "h w *channels"]:
    """A frame or mask at another (height, width); itself where it has that size."""
    if frame.shape[:2] == size:
        return np.ascontiguousarray(frame)
    height, width = size
    if interpolation == "pillow_bicubic":
        smooth = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        return np.array(smooth)  # a copy: Pillow's own memory cannot become a tensor
    import cv2

    return cv2.resize(frame, (width, height), interpolation=getattr(cv2, OPENCV_FLAGS[interpolation]))


def _fitting(size: InputSize, patch: int) -> str:
    """The options that change a size, as little as may be, to one of whole patches."""
    sides = {"short_side": size.short_side, "long_side": size.long_side}
    changed = [f"{name} to {_nearest_multiple(side, patch)}" for name, side in sides.items() if side and side % patch]
    if size.fixed:
        changed.append(f"fixed to {' '.join(str(_nearest_multiple(side, patch)) for side in size.fixed)}")
    if not size.fixed and size.multiple % patch:
        changed.append(f"multiple to {_nearest_multiple(size.multiple, patch)}")
    if not changed:
        changed.append("large_as_720p to False")
    return " and ".join(f"features.size.{change}" for change in changed)


def _nearest_multiple(pixels: int, patch: int) -> int:
    return max(round(pixels / patch), 1) * patch
