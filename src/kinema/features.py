"""Frozen features: turns frames into grids of feature vectors under given settings.

`FeatureSettings` documents the settings and what published evaluations set them to.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

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

_OPENCV_FLAGS = {
    "nearest": "INTER_NEAREST_EXACT",
    "bilinear": "INTER_LINEAR",
    "bicubic": "INTER_CUBIC",
    "area": "INTER_AREA",
}

DEFAULT_SETTINGS = FeatureSettings()


@runtime_checkable
class Backbone(Protocol):
    """A network that computes one feature vector per patch."""

    @property
    def patch_size(self) -> int:
        """Side of a square patch in pixels."""
        ...

    def dense(self, frames: Float[Tensor, "B 3 H W"], *, layer: int, positions: Positions) -> Float[Tensor, "B h w D"]:
        """Returns the patch features of standardized frames whose sides are multiples of the patch size."""
        ...


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """The origin of a network; it is recorded in every result that the network produces."""

    source: str
    sha256: str | None
    """Hash of the file with the tensors; None if there is no file (raw pixels)."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Mean of pixels in [0, 1] that the network's training inputs were standardized with."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Standard deviation for the same."""

    def adapt_settings(self, settings: FeatureSettings) -> FeatureSettings:
        """Returns the settings with the pixel statistics that this network was trained with.

        Protocols name ImageNet's statistics, or DINO's variant of them with 0.228 for red. Only these are replaced;
        statistics that were set to other values stay.
        """
        is_usual = (self.mean, self.std) == (IMAGENET_MEAN, IMAGENET_STD)
        if is_usual or settings.mean != IMAGENET_MEAN or settings.std not in (IMAGENET_STD, DINO_STD):
            return settings
        return replace(settings, mean=self.mean, std=self.std)


class QueriesAndKeys(NamedTuple):
    """Vectors with which the tokens of one frame search earlier frames and are found by later frames."""

    queries: Float[Tensor, "h w D"]
    keys: Float[Tensor, "h w D"] | None
    """None if they equal the queries."""


class PixelPatches(nn.Module):
    """Raw pixels as features, a baseline that shows how far appearance alone goes."""

    def __init__(self, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size

    def dense(self, frames: Float[Tensor, "B 3 H W"], *, layer: int, positions: Positions) -> Float[Tensor, "B h w D"]:
        """Returns the standardized pixels of each patch; `layer` and `positions` have no effect."""
        grid = (frames.shape[2] // self.patch_size, frames.shape[3] // self.patch_size)
        return patchify(frames, self.patch_size).unflatten(1, grid)


class FeatureExtractor:
    """A frozen backbone together with the settings that say how its features are computed.

    decoder: loads the decoder that was trained with the backbone, if there is one. It is used only if
    `settings.affinity` is "decoder".
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
            self._load_decoder()  # a missing decoder must fail here, not hours later at the first frame

    @cached_property
    def _precision(self) -> Literal["fp32", "bf16"]:
        # Resolved once, because `auto` asks the processor and a cache file.
        return resolve_precision(self.settings.precision, self.device, "features", self.backbone)

    def with_settings(self, settings: FeatureSettings) -> "FeatureExtractor":
        """Returns an extractor with other settings that shares the network."""
        return FeatureExtractor(self.backbone, settings, source=self.source, device=self.device, decoder=self.decoder)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the (height, width) in pixels to which frames of the given size are resized for the network.

        Raises ConfigError if the patch size does not divide it.
        """
        size = self.settings.size.of(height, width)
        patch = self.backbone.patch_size
        if size[0] % patch or size[1] % patch:
            raise ConfigError(
                f"input size {size[0]}x{size[1]} does not divide into patches of {patch} pixels",
                where=f"frames of {height}x{width}",
                fix=f"set {_suggest_size(self.settings.size, patch)}",
            )
        return size

    def dense(self, frames: UInt8[np.ndarray, "T H W 3"]) -> Float[Tensor, "T h w D"]:
        """Returns the features of each frame on its own.

        If `settings.centered` is set, the mean feature of the first frame is subtracted from those of all frames.
        """
        return torch.stack(list(self.stream(frames)))

    def stream(self, frames: Iterable[UInt8[np.ndarray, "H W 3"]]) -> Iterator[Float[Tensor, "h w D"]]:
        """Yields the features of each frame; only one frame or tubelet is in memory at a time."""
        mean = None
        clip: deque[Tensor] = deque(maxlen=self._num_frames_at_once)
        for frame in frames:
            pixels = self._standardize_frame(frame)
            if clip and clip[-1].shape != pixels.shape:  # the frames of a tubelet must have the same size
                clip.clear()
            clip.extend([pixels] * (1 if clip else self._num_frames_at_once))
            features = self._compute_last_features(clip)
            if self.settings.centered:
                mean = features.mean(dim=(0, 1)) if mean is None else mean
                features = features - mean
            yield features

    def stream_queries_and_keys(self, frames: Iterable[UInt8[np.ndarray, "H W 3"]]) -> Iterator[QueriesAndKeys]:
        """Yields what `settings.affinity` compares: the features of each frame, or a decoder's queries and keys."""
        if self.settings.affinity == "features":
            yield from (QueriesAndKeys(features, None) for features in self.stream(frames))
            return
        for frame in frames:
            yield self._compute_queries_and_keys(self._standardize_frame(frame))

    @torch.inference_mode()
    def _compute_queries_and_keys(self, pixels: Float[Tensor, "1 3 H W"]) -> QueriesAndKeys:
        settings, (encoder, decoder) = self.settings, self._load_decoder()
        grid = (pixels.shape[2] // encoder.patch_size, pixels.shape[3] // encoder.patch_size)
        with autocast(self._precision, self.device):
            tokens = encoder.tokens(pixels[:, None], positions=settings.positions)
            both = decoder.queries_and_keys(tokens, grid, block=settings.decoder_block, positions=settings.positions)
        return QueriesAndKeys(*(vectors[0].float() for vectors in both))

    def _load_decoder(self) -> tuple[ViT, PatchDecoder]:
        if self.decoder is None or not isinstance(self.backbone, ViT):
            raise WeightsError(
                "these weights have no decoder that attends from frame to frame",
                where=self.source.source,
                fix="give the run folder of a SiamMAE, or set features.affinity to features",
            )
        return self.backbone, self.decoder()

    @torch.inference_mode()
    def clip(self, frames: UInt8[np.ndarray, "T H W 3"]) -> Float[Tensor, "t h w D"]:
        """Returns the features of a clip that an encoder of tubelets sees as a whole.

        An encoder of single frames sees each frame on its own. If the clip is shorter than a tubelet, its last frame is
        repeated. Raises ConfigError if a longer clip is not a whole number of tubelets.
        """
        clips, backbone = self._make_clips(frames), self.backbone
        with autocast(self._precision, self.device):
            if not isinstance(backbone, ViT):
                return backbone.dense(clips[:, 0], **self._dense_options).float()
            return backbone.dense_clips(clips, **self._dense_options).flatten(0, 1).float()

    @torch.inference_mode()
    def pooled(self, frames: UInt8[np.ndarray, "T H W 3"], pooling: Pooling) -> Float[Tensor, " D"]:
        """Returns one vector for a clip, which the encoder sees as in `clip`.

        With an encoder of single frames it is the mean over frames. `last4_class` takes four forward passes. Raises
        ConfigError if `pooling` needs a class token and the encoder has none.
        """
        if pooling == "mean":
            return self.clip(frames).mean(dim=(0, 1, 2))
        clips, settings, backbone = self._make_clips(frames), self.settings, self.backbone
        if not isinstance(backbone, ViT) or not backbone.config.class_token:
            raise ConfigError("no class token to read", where=f"pooling {pooling}", fix="use pooling mean")
        last = backbone.find_block(settings.layer)
        layers = range(max(last - 3, 1), last + 1) if pooling == "last4_class" else [last]
        with autocast(self._precision, self.device):
            outputs = [backbone.tokens(clips, layer=layer, positions=settings.positions).float() for layer in layers]
        parts = [tokens[:, 0] for tokens in outputs]
        if pooling == "class_mean":
            parts.append(outputs[0][:, backbone.num_class_tokens :].mean(dim=1))
        return torch.cat(parts, dim=1).mean(dim=0)

    def _make_clips(self, frames: UInt8[np.ndarray, "T H W 3"]) -> Float[Tensor, "B t 3 h w"]:
        """Returns one batch entry with all frames for an encoder of tubelets, otherwise one for each frame."""
        pixels = torch.cat([self._standardize_frame(frame) for frame in frames])  # (T, 3, h, w)
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
    def _num_frames_at_once(self) -> int:
        if self.settings.tubelet == "slide" and isinstance(self.backbone, ViT):
            return self.backbone.config.tubelet_size
        return 1

    @property
    def _dense_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"layer": self.settings.layer, "positions": self.settings.positions}
        if isinstance(self.backbone, ViT):  # other networks have no attention to limit
            options["window"] = self.settings.attention_window
        return options

    def _standardize_frame(self, frame: UInt8[np.ndarray, "H W 3"]) -> Float[Tensor, "1 3 h w"]:
        resized = resize_frame(frame, self.input_size(*frame.shape[:2]), self.settings.resize)
        pixels = torch.from_numpy(resized).permute(2, 0, 1)[None].to(self.device)
        return standardize(pixels, self.settings.mean, self.settings.std)

    @torch.inference_mode()
    def _compute_last_features(self, clip: deque[Tensor]) -> Float[Tensor, "h w D"]:
        """Returns the features of a clip's last frame: of that frame alone, or of the tubelet that ends with it."""
        backbone = self.backbone
        with autocast(self._precision, self.device):
            if len(clip) > 1 and isinstance(backbone, ViT):
                features = backbone.dense_clips(torch.stack(list(clip), dim=1), **self._dense_options).squeeze(1)
            else:
                features = backbone.dense(clip[-1], **self._dense_options)
        return features[0].float()


def resize_frame(
    frame: UInt8[np.ndarray, "H W *channels"], size: tuple[int, int], interpolation: Interpolation
) -> UInt8[np.ndarray, "h w *channels"]:
    """Resizes a frame or mask to (height, width); one that already has that size is returned unchanged."""
    if frame.shape[:2] == size:
        return np.ascontiguousarray(frame)
    height, width = size
    if interpolation == "pillow_bicubic":
        resized = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        return np.array(resized)  # a copy, because Pillow's own memory is read-only and cannot become a tensor
    import cv2

    return cv2.resize(frame, (width, height), interpolation=getattr(cv2, _OPENCV_FLAGS[interpolation]))


def _suggest_size(size: InputSize, patch: int) -> str:
    """Returns the options that change an input size to the nearest one that consists of whole patches."""
    sides = {"short_side": size.short_side, "long_side": size.long_side}
    changed = [f"{name} to {_round_to_multiple(side, patch)}" for name, side in sides.items() if side and side % patch]
    if size.fixed:
        changed.append(f"fixed to {' '.join(str(_round_to_multiple(side, patch)) for side in size.fixed)}")
    if not size.fixed and size.multiple % patch:
        changed.append(f"multiple to {_round_to_multiple(size.multiple, patch)}")
    if not changed:
        changed.append("large_as_720p to False")
    return " and ".join(f"features.size.{change}" for change in changed)


def _round_to_multiple(pixels: int, patch: int) -> int:
    return max(round(pixels / patch), 1) * patch
