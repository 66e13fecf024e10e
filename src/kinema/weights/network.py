"""A network as every format reads and writes it: our names, our configurations, and the facts that change numbers."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from kinema.models.positions import Positions
from kinema.models.vit import ViT
from kinema.models.vit_config import CrossDecoderConfig, MaskedDecoderConfig, ViTConfig
from kinema.settings import IMAGENET_MEAN, IMAGENET_STD

Channels = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """What pixels in [0, 1] are standardized by before the network sees them."""

    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD

    @classmethod
    def of(cls, mean: Iterable[Any], std: Iterable[Any]) -> "Pixels":
        """Those that a file states; ValueError or TypeError where they are not three numbers, deviations above 0."""
        (red, green, blue), deviations = map(float, mean), tuple(map(float, std))
        if len(deviations) != 3 or not all(0 < deviation < float("inf") for deviation in deviations):
            raise ValueError(f"deviations {deviations}")
        return cls(mean=(red, green, blue), std=(deviations[0], deviations[1], deviations[2]))


HALVES = Pixels(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@dataclass(frozen=True, kw_only=True)
class NetworkWeights:
    """An encoder, the decoder it was trained with where a file holds one, and what a file's tensors cannot say."""

    encoder: ViTConfig
    encoder_tensors: dict[str, Tensor]
    """As `ViT.load_state_dict` takes them."""
    decoder: MaskedDecoderConfig | CrossDecoderConfig | None = None
    decoder_tensors: dict[str, Tensor] | None = None
    """As `load_state_dict` of `MaskedDecoder` or of `PatchDecoder` takes them."""
    normalized_target: bool = True
    """Whether it was trained on patches with mean and contrast taken out."""
    mask_ratio: float | None = None
    """Share of the patches that were hidden, where the file says so."""
    format: str = "kinema"
    """Title of the format it was read from."""
    pixels: Pixels = Pixels()
    pooling: str = "none"
    """What its own classifier or evaluation reads, in words."""
    resampling: Positions = "interpolated"
    """How its own code brings positions to another size."""
    sources: dict[str, str] = field(default_factory=dict)
    """Where heads and pixel statistics are known from, in words."""
    computed: tuple[str, ...] = ()
    """Our tensors that the file does not hold and that are computed, e.g. fixed positions."""
    resampled: tuple[str, ...] = ()
    """Our tensors brought to another size than the file's."""
    aside: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The file's tensors that no part of ours stands for, by what they are."""
    mask_token: Tensor | None = None
    """(1, 1, D): what hidden patches were replaced by in the encoder; no forward pass here needs it."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What stands beside the encoder in the `config.json` of ours."""

    def network(self) -> ViT:
        """The encoder, in evaluation mode."""
        encoder = ViT(self.encoder)
        encoder.load_state_dict(self.encoder_tensors)
        return encoder.eval()

    def at(self, num_frames: int, image_size: int, how: Positions) -> "NetworkWeights":
        """The same encoder for clips of another length and size; the decoder, which has positions too, is left out.

        Raises ConfigError where they do not divide into tubelets and patches, or such positions have no such way.
        """
        old = self.network()
        tensors = old.tensors_at(num_frames, image_size, how)
        changed = [name for name, tensor in tensors.items() if tensor.shape != self.encoder_tensors[name].shape]
        return replace(
            self,
            encoder=replace(self.encoder, num_frames=num_frames, image_size=image_size),
            encoder_tensors=tensors,
            decoder=None,
            decoder_tensors=None,
            resampled=tuple(f"{name} ({how})" for name in changed),
        )

    def facts(self) -> dict[str, Any]:
        """Everything that changes numbers, as plain values."""
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
        """What was loaded, computed, left aside and resampled, and the facts, as plain values."""
        loaded = len(self.encoder_tensors) + len(self.decoder_tensors or {}) - len(self.computed)
        return {
            "format": self.format,
            "loaded": loaded,
            "missing": list(self.computed),
            "unexpected": {what: list(names) for what, names in self.aside.items()},
            "resampled": list(self.resampled),
            "facts": self.facts(),
        }
