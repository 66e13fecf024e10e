"""From a name to a network that is ready to read features with."""

import re
from pathlib import Path

import torch

from kinema.errors import WeightsError
from kinema.features import DEFAULT_SETTINGS, FeatureExtractor, PixelPatches, WeightsSource
from kinema.models.configs import vit
from kinema.models.resnet import ResNet
from kinema.models.vit import ViT
from kinema.ops.precision import resolve_device
from kinema.settings import FeatureSettings
from kinema.weights.read import read_backbone, read_weights

_UNTRAINED = re.compile(r"untrained:(.+?)(?:@(\d{1,18}))?")
_SIZE = re.compile(r"(tiny|small|base|large|huge)/([1-9]\d{0,3})")
_PIXELS = re.compile(r"pixels:([1-9]\d{0,3})")


def load(source: str | Path, *, settings: FeatureSettings = DEFAULT_SETTINGS, device: str = "auto") -> FeatureExtractor:
    """The network that `source` names, ready to read features with.

    source: whatever `weights.read` takes (a run folder, a file or folder of any format in docs/weights.md,
    `hf:ORG/NAME[@REVISION]`, `timm:NAME`, each with `#options`); for comparison `untrained:SIZE/PATCH[@SEED]` (SIZE
    one of tiny, small, base, large, huge: a ViT of 224 pixels as a run with that seed begins with it),
    `untrained:RUN[@SEED]` (a run's own network before its training) and `pixels:PATCH` (raw pixels).
    Raises WeightsError where there is nothing of the kind, or it cannot be read.
    """
    chosen = resolve_device(device)
    backbone, weights = _read(str(source))
    return FeatureExtractor(backbone.to(chosen), settings, source=weights, device=chosen)


def _read(source: str) -> tuple[ViT | ResNet | PixelPatches, WeightsSource]:
    if match := _PIXELS.fullmatch(source):
        return PixelPatches(int(match[1])), WeightsSource(source=source, sha256=None)
    if match := _UNTRAINED.fullmatch(source):
        return _untrained(match), WeightsSource(source=source, sha256=None)
    if source.startswith("pixels:"):
        raise WeightsError("no such baseline", where=source, fix="write the patch size in pixels, e.g. pixels:16")
    weights, sha256 = read_backbone(source)
    pixels = weights.pixels
    return weights.network(), WeightsSource(source=source, sha256=sha256, mean=pixels.mean, std=pixels.std)


def _untrained(match: re.Match[str]) -> ViT:
    described, seed = match[1], int(match[2] or 0)
    named = _SIZE.fullmatch(described)
    config = vit(named[1], patch_size=int(named[2])) if named else read_weights(described)[0].encoder  # pyright: ignore
    with torch.random.fork_rng(devices=[]):
        encoder = ViT(config)
        torch.manual_seed(seed)  # as `recipes.build` does: these are the weights that a run with this seed begins with
        encoder.init_weights()
    return encoder.eval()
