"""Loads the network that a name refers to, ready to extract features."""

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
from kinema.weights.decoders import build_untrained_decoder, load_decoder
from kinema.weights.read import read_backbone, read_weights

_UNTRAINED = re.compile(r"untrained:(.+?)(?:@(\d{1,18}))?")
_SIZE = re.compile(r"(tiny|small|base|large|huge)/([1-9]\d{0,3})")
_PIXELS = re.compile(r"pixels:([1-9]\d{0,3})")


def load(
    source: str | Path = DEFAULT_WEIGHTS, *, settings: FeatureSettings = DEFAULT_SETTINGS, device: str = "auto"
) -> FeatureExtractor:
    """Loads a network, the built-in encoder by default, and returns it as a feature extractor.

    source: anything that `weights.read` reads (a run folder, a file or folder of any format in docs/weights.md,
    `hf:ORG/NAME[@REVISION]` or `timm:NAME`, each with `#options`), or one of three baselines:
    `untrained:SIZE/PATCH[@SEED]`, a ViT of 224 pixels with the weights that a run with that seed starts from (SIZE is
    tiny, small, base, large or huge); `untrained:RUN[@SEED]`, the network of a run before its training; and
    `pixels:PATCH`, raw pixels.
    Raises WeightsError if the source does not exist or cannot be read.
    """
    chosen = resolve_device(device)
    backbone, weights, load_its_decoder = _read(str(source))
    # Most uses never need the decoder, so it is read on the first request, and only once.
    decoder = functools.cache(lambda: load_its_decoder().to(chosen)) if load_its_decoder else None
    return FeatureExtractor(backbone.to(chosen), settings, source=weights, device=chosen, decoder=decoder)


def _read(source: str) -> tuple[ViT | ResNet | PixelPatches, WeightsSource, Callable[[], PatchDecoder] | None]:
    if match := _PIXELS.fullmatch(source):
        return PixelPatches(int(match[1])), WeightsSource(source=source, sha256=None), None
    if match := _UNTRAINED.fullmatch(source):
        return _build_untrained(match)
    if source.startswith("pixels:"):
        raise WeightsError("no such baseline", where=source, fix="write the patch size in pixels, e.g. pixels:16")
    weights, sha256 = read_backbone(source)
    pixels = weights.pixels
    facts = WeightsSource(source=source, sha256=sha256, mean=pixels.mean, std=pixels.std)
    return weights.build_network(), facts, functools.partial(load_decoder, Path(source))


def _build_untrained(match: re.Match[str]) -> tuple[ViT, WeightsSource, Callable[[], PatchDecoder] | None]:
    name, seed = match[1], int(match[2] or 0)
    size = _SIZE.fullmatch(name)
    config = vit(size[1], patch_size=int(size[2])) if size else read_weights(name)[0].encoder  # pyright: ignore
    with torch.random.fork_rng(devices=[]):  # PyTorch's layers draw when they are built; `init_weights` draws again
        encoder = ViT(config)

    def initialize(*networks: ViT | PatchDecoder) -> None:
        """Draws the weights in the order in which a run with this seed draws them (`runs.build`)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for network in networks:
                network.init_weights()

    def build_decoder() -> PatchDecoder:
        decoder = build_untrained_decoder(Path(name))
        # A run draws the encoder's weights before the decoder's, so the encoder's draws are repeated here.
        initialize(ViT(config), decoder)
        return decoder

    initialize(encoder)
    return encoder.eval(), WeightsSource(source=match[0], sha256=None), None if size else build_decoder
