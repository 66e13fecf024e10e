"""From a name to a network that is ready to read features with."""

import functools
import re
from collections.abc import Callable
from pathlib import Path

import torch

from kinema.errors import WeightsError
from kinema.features import DEFAULT_SETTINGS, FeatureExtractor, PixelPatches, WeightsSource
from kinema.models.decoders import PatchDecoder
from kinema.models.resnet import ResNet
from kinema.models.vit import ViT
from kinema.models.vit_config import vit
from kinema.ops.precision import resolve_device
from kinema.settings import FeatureSettings
from kinema.weights.builtin import DEFAULT_WEIGHTS
from kinema.weights.decoders import load_decoder, new_decoder
from kinema.weights.read import read_backbone, read_weights

_UNTRAINED = re.compile(r"untrained:(.+?)(?:@(\d{1,18}))?")
_SIZE = re.compile(r"(tiny|small|base|large|huge)/([1-9]\d{0,3})")
_PIXELS = re.compile(r"pixels:([1-9]\d{0,3})")


def load(
    source: str | Path = DEFAULT_WEIGHTS, *, settings: FeatureSettings = DEFAULT_SETTINGS, device: str = "auto"
) -> FeatureExtractor:
    """The network that `source` names, ready to read features with; the built-in encoder unless told otherwise.

    source: whatever `weights.read` takes (a run folder, a file or folder of any format in docs/weights.md,
    `hf:ORG/NAME[@REVISION]`, `timm:NAME`, each with `#options`); for comparison `untrained:SIZE/PATCH[@SEED]` (SIZE
    one of tiny, small, base, large, huge: a ViT of 224 pixels as a run with that seed begins with it),
    `untrained:RUN[@SEED]` (a run's own network before its training) and `pixels:PATCH` (raw pixels).
    Raises WeightsError where there is nothing of the kind, or it cannot be read.
    """
    chosen = resolve_device(device)
    backbone, weights, decoder = _read(str(source))
    on_device = functools.cache(lambda: decoder().to(chosen)) if decoder else None  # read once, where it is asked for
    return FeatureExtractor(backbone.to(chosen), settings, source=weights, device=chosen, decoder=on_device)


def _read(source: str) -> tuple[ViT | ResNet | PixelPatches, WeightsSource, Callable[[], PatchDecoder] | None]:
    if match := _PIXELS.fullmatch(source):
        return PixelPatches(int(match[1])), WeightsSource(source=source, sha256=None), None
    if match := _UNTRAINED.fullmatch(source):
        return _untrained(match)
    if source.startswith("pixels:"):
        raise WeightsError("no such baseline", where=source, fix="write the patch size in pixels, e.g. pixels:16")
    weights, sha256 = read_backbone(source)
    pixels = weights.pixels
    described = WeightsSource(source=source, sha256=sha256, mean=pixels.mean, std=pixels.std)
    return weights.network(), described, functools.partial(load_decoder, Path(source))


def _untrained(match: re.Match[str]) -> tuple[ViT, WeightsSource, Callable[[], PatchDecoder] | None]:
    described, seed = match[1], int(match[2] or 0)
    named = _SIZE.fullmatch(described)
    config = vit(named[1], patch_size=int(named[2])) if named else read_weights(described)[0].encoder  # pyright: ignore
    with torch.random.fork_rng(devices=[]):  # building draws, and what it draws is drawn anew below
        encoder = ViT(config)

    def initialized(*networks: ViT | PatchDecoder) -> None:
        """As `recipes.build` does it: these are the weights that a run with this seed begins with."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for network in networks:
                network.init_weights()

    def decoder() -> PatchDecoder:
        fresh = new_decoder(Path(described))
        initialized(ViT(config), fresh)
        return fresh

    initialized(encoder)
    return encoder.eval(), WeightsSource(source=match[0], sha256=None), None if named else decoder
