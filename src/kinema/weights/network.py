"""A network in our names, whatever format it was read from, with the facts that its tensors do not state."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from kinema.models.positions import Positions
from kinema.models.vit import ViT
from kinema.models.vit_config import CrossDecoderConfig, MaskedDecoderConfig, ViTConfig
from kinema.settings import IMAGENET_MEAN, IMAGENET_STD

Channels = tuple[float, float, float]
_NO_FACTS = ("heads_known_from", "pixels_known_from", "pooling", "decoder", "mask_token", "positions_at_other_sizes")
"""Facts that change no feature at the training size."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """The mean and standard deviation by which pixels in [0, 1] are standardized."""

    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD

    @classmethod
    def of(cls, mean: Iterable[Any], std: Iterable[Any]) -> "Pixels":
        """Builds the statistics that a file states.

        Raises ValueError or TypeError if they are not three numbers each, or if a deviation is not above 0.
        """
        (red, green, blue), deviations = map(float, mean), tuple(map(float, std))
        if len(deviations) != 3 or not all(0 < deviation < float("inf") for deviation in deviations):
            raise ValueError(f"deviations {deviations}")
        return cls(mean=(red, green, blue), std=(deviations[0], deviations[1], deviations[2]))


HALVES = Pixels(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@dataclass(frozen=True, kw_only=True)
class NetworkWeights:
    """An encoder, its decoder if the file has one, and the facts that the tensors do not state."""

    encoder: ViTConfig
    encoder_tensors: dict[str, Tensor]
    """As `ViT.load_state_dict` takes them."""
    decoder: MaskedDecoderConfig | CrossDecoderConfig | None = None
    decoder_tensors: dict[str, Tensor] | None = None
    """As `load_state_dict` of `MaskedDecoder` or of `PatchDecoder` takes them."""
    normalized_target: bool = True
    """Whether each target patch was normalized by its own mean and standard deviation in training."""
    mask_ratio: float | None = None
    """Share of the patches that were hidden in training, if the file states it."""
    format: str = "kinema"
    """Title of the format the network was read from."""
    pixels: Pixels = Pixels()
    pooling: str = "none"
    """What the authors' own classifier or evaluation reads, in words."""
    resampling: Positions = "interpolated"
    """How the authors' code resizes the positions."""
    sources: dict[str, str] = field(default_factory=dict)
    """Where the number of heads and the pixel statistics come from, in words."""
    computed: tuple[str, ...] = ()
    """Our tensors that the file does not store because they are computed, e.g. fixed positions."""
    resampled: tuple[str, ...] = ()
    """Our tensors that were resized from the file's."""
    aside: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The file's tensors that have no counterpart here, grouped by what they are."""
    mask_token: Tensor | None = None
    """(1, 1, D): what replaced hidden patches in the encoder. No forward pass here needs it; it is kept for writing."""
    extra: dict[str, Any] = field(default_factory=dict)
    """The other entries of our own `config.json`."""

    def build_network(self) -> ViT:
        """Builds the encoder with these weights, in evaluation mode."""
        encoder = ViT(self.encoder)
        encoder.load_state_dict(self.encoder_tensors)
        return encoder.eval()

    def resample_to(self, num_frames: int, image_size: int, how: Positions) -> "NetworkWeights":
        """Returns the same encoder for clips of another length and size, without the decoder.

        The decoder is dropped because it has positions of its own.
        Raises ConfigError if the size does not divide into patches and tubelets, or if these positions cannot be
        resized `how`.
        """
        tensors = self.build_network().tensors_at(num_frames, image_size, how)
        changed = [name for name, tensor in tensors.items() if tensor.shape != self.encoder_tensors[name].shape]
        return replace(
            self,
            encoder=replace(self.encoder, num_frames=num_frames, image_size=image_size),
            encoder_tensors=tensors,
            decoder=None,
            decoder_tensors=None,
            resampled=tuple(f"{name} ({how})" for name in changed),
        )

    def list_facts(self) -> dict[str, Any]:
        """Lists everything that changes results, as plain values."""
        encoder = self.encoder
        return {
            "width": encoder.width,
            "depth": encoder.depth,
            "heads": encoder.num_heads,
            "heads_known_from": self.sources.get("heads", "config.json"),
            "patch": encoder.patch_size,
            "tubelet": encoder.tubelet_size,
            "image_size": encoder.image_size,
            "frames": encoder.num_frames,
            "mlp": f"{encoder.mlp}, {encoder.mlp_width} channels",
            "norm_eps": encoder.norm_eps,
            "final_norm": encoder.final_norm,
            "qkv_bias": encoder.qkv_bias,
            "positions": encoder.positions,
            "positions_at_other_sizes": self.resampling
            if encoder.positions != "sincos"
            else "interpolated, recomputed",
            "rotary_base": encoder.rotary_base if encoder.positions.startswith("rotary") else None,
            "class_token": encoder.class_token,
            "register_tokens": encoder.register_tokens,
            "layer_scale": encoder.layer_scale,
            "mask_token": self.mask_token is not None,
            "pooling": self.pooling,
            "pixel_mean": list(self.pixels.mean),
            "pixel_std": list(self.pixels.std),
            "pixels_known_from": self.sources.get("pixels", "assumed: ImageNet's"),
            "decoder": None if self.decoder is None else type(self.decoder).__name__,
        }

    def report(self) -> dict[str, Any]:
        """Reports what was loaded, computed, left aside and resampled, and the facts, as plain values."""
        loaded = len(self.encoder_tensors) + len(self.decoder_tensors or {}) - len(self.computed)
        return {
            "format": self.format,
            "loaded": loaded,
            "missing": list(self.computed),
            "unexpected": {what: list(names) for what, names in self.aside.items()},
            "resampled": list(self.resampled),
            "facts": self.list_facts(),
        }


def compare_networks(first: NetworkWeights, second: NetworkWeights) -> dict[str, Any]:
    """Compares two networks by their facts, their tensors, and their features of the same clip.

    Returns the `facts` that differ; the tensors that only one has (`only_first`, `only_second`) or whose `shapes`
    differ; `tensors`, the largest absolute difference of each that differs, largest first; and `features`, the
    largest difference of the features of a random clip of the first network's size, None if the sizes do not match.
    """
    facts, other_facts = first.list_facts(), second.list_facts()
    tensors, others = first.encoder_tensors, second.encoder_tensors
    common = [name for name in tensors if name in others]
    comparable = [name for name in common if tensors[name].shape == others[name].shape]
    gaps = {name: float((tensors[name].double() - others[name].double()).abs().max()) for name in comparable}
    return {
        "facts": {
            name: [value, other_facts[name]]
            for name, value in facts.items()
            if value != other_facts[name] and name not in _NO_FACTS
        },
        "only_first": sorted(tensors.keys() - others.keys()),
        "only_second": sorted(others.keys() - tensors.keys()),
        "shapes": [name for name in common if name not in comparable],
        "tensors": dict(sorted(((n, gap) for n, gap in gaps.items() if gap > 0), key=lambda pair: -pair[1])),
        "features": _compare_features(first, second),
    }


@torch.inference_mode()
def _compare_features(first: NetworkWeights, second: NetworkWeights) -> float | None:
    sizes = [(w.encoder.patch_size, w.encoder.tubelet_size, w.encoder.width) for w in (first, second)]
    if sizes[0] != sizes[1]:
        return None
    encoder = first.encoder
    shape = (1, encoder.num_frames, 3, encoder.image_size, encoder.image_size)
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return float((_compute_features(first, pixels) - _compute_features(second, pixels)).abs().max())


def _compute_features(weights: NetworkWeights, pixels: Tensor) -> Tensor:
    """Computes the features of pixels in [0, 1], standardized as in the network's own training."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (weights.pixels.mean, weights.pixels.std))
    return weights.build_network().dense_clips((pixels - mean) / std, positions=weights.resampling)
