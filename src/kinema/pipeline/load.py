"""From a name to a network that is ready to read features with."""

import re
from pathlib import Path

import torch

from kinema.errors import WeightsError
from kinema.features import DEFAULT_SETTINGS, FeatureExtractor, PixelPatches, WeightsSource
from kinema.models.configs import vit
from kinema.models.vit import ViT
from kinema.ops.precision import resolve_device
from kinema.settings import FeatureSettings
from kinema.weights.files import load_encoder

_UNTRAINED = re.compile(r"untrained:(tiny|small|base|large)/(\d+)(?:@(\d+))?")
_PIXELS = re.compile(r"pixels:(\d+)")


def load(source: str | Path, *, settings: FeatureSettings = DEFAULT_SETTINGS, device: str = "auto") -> FeatureExtractor:
    """The network that `source` names, ready to read features with.

    source: a run folder, or the `encoder.safetensors` of one; for comparison `untrained:SIZE/PATCH[@SEED]` (SIZE one of
    tiny, small, base, large: a ViT as training starts from it) and `pixels:PATCH` (raw pixels).
    Raises WeightsError where there is nothing of the kind, or it cannot be read.
    """
    chosen = resolve_device(device)
    backbone, weights = _read(str(source))
    return FeatureExtractor(backbone.to(chosen), settings, source=weights, device=chosen)


def _read(source: str) -> tuple[ViT | PixelPatches, WeightsSource]:
    if match := _PIXELS.fullmatch(source):
        return PixelPatches(int(match[1])), WeightsSource(source=source, sha256=None)
    if match := _UNTRAINED.fullmatch(source):
        return _untrained(match), WeightsSource(source=source, sha256=None)
    if source.startswith(("untrained:", "pixels:")):
        raise WeightsError(
            "no such baseline", where=source, fix="write untrained:tiny/16, untrained:tiny/16@1, pixels:16"
        )
    encoder, sha256 = load_encoder(Path(source))
    return encoder, WeightsSource(source=source, sha256=sha256)


def _untrained(match: re.Match[str]) -> ViT:
    size, patch_size, seed = match[1], int(match[2]), int(match[3] or 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ViT(vit(size, patch_size=patch_size)).eval()  # pyright: ignore[reportArgumentType]
