"""Ways to look at frames through frozen networks: attention, principal components, correspondences."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image

from kinema.errors import ConfigError, WeightsError
from kinema.features import FeatureExtractor
from kinema.models.vit import ViT
from kinema.settings import FeatureSettings
from kinema.tools.visualize.attention import attention_of
from kinema.tools.visualize.components import color_basis
from kinema.tools.visualize.correspondence import Matches, best_matches, features_at
from kinema.tools.visualize.picture_size import Tile, at_size, tile_size
from kinema.tools.visualize.sheets import View
from kinema.video.base import VideoReader
from kinema.video.overlays import overlay_maps, overlay_points
from kinema.weights.load import load

_BRIGHTEST = 0.995
"""Share of a head's attention that stays below the brightest color."""
_LEAST_PEAK = 2.0
"""Multiple of even attention that the brightest color stands for at least: noise must not look like a finding."""
_DIMMED = 0.55
"""Brightness of the frame under a head's attention."""
_DARKEST_LIKENESS = 0.8
"""Share of a clip's patches that are shown as not alike to a point."""
_DOT = 0.025
"""Radius of a point as a share of the picture's shorter side."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and what it is called under its pictures."""

    name: str
    extractor: FeatureExtractor


def networks_beside(
    weights: str, beside: str | None, *, settings: FeatureSettings, device: str = "auto"
) -> list[Network]:
    """The network of some weights and what is shown beside it: `untrained`, other weights, or `none`.

    beside: None is `untrained` where the network is a ViT, else `none`. WeightsError for raw pixels beside untrained,
    ConfigError for weights beside themselves.
    """
    own = load(weights, settings=settings, device=device)
    networks = [Network(name="trained", extractor=own)]
    if beside == "none" or (beside is None and not _has_twin(own, weights)):
        return [Network(name=_short(weights), extractor=own)]
    if beside not in (None, "untrained"):
        if beside == weights:
            raise ConfigError(f"{weights} beside itself", where="--beside", fix="name other weights, or none")
        other = load(beside, settings=settings, device=device)
        names = [_short(weights), _short(beside)]
        first, second = names if names[0] != names[1] else (weights, beside)
        return [Network(name=first, extractor=own), Network(name=second, extractor=other)]
    return [*networks, Network(name="untrained", extractor=_untrained_twin(own))]


def _short(weights: str) -> str:
    """What a network is called under a picture: the last part of a path, a baseline's whole name."""
    return weights if ":" in weights else weights.rstrip("/").rpartition("/")[2]


def _has_twin(extractor: FeatureExtractor, weights: str) -> bool:
    return isinstance(extractor.backbone, ViT) and not weights.startswith("untrained:")


def _untrained_twin(extractor: FeatureExtractor, *, seed: int = 0) -> FeatureExtractor:
    """The same network with fresh weights, those that a run with that seed begins with."""
    if not isinstance(extractor.backbone, ViT):
        what = "a network that has no untrained form"
        raise WeightsError(what, where=extractor.source.source, fix="use --beside none, or name other weights")
    twin = copy.deepcopy(extractor.backbone).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin.init_weights()
    source = replace(extractor.source, source=f"{extractor.source.source}, untrained, seed {seed}", sha256=None)
    return FeatureExtractor(twin.to(extractor.device), extractor.settings, source=source, device=extractor.device)


class AttentionView:
    """The frame, the mean over heads and the heads, for every network in a row of its own.

    Each head has one scale for the whole clip, from dark (nothing) to the brightest color at the multiple of even
    attention that its caption names. heads: from 1; none: all of them. point: whose attention; None: the class token's.
    `asked` says whose it was, of each network where they differ.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        samples: Sequence[UInt8[np.ndarray, "H W 3"]],
        *,
        point: tuple[float, float] | None,
        heads: Sequence[int] = (),
    ) -> None:
        self._networks, self._point = list(networks), point
        read = [attention_of(network.extractor, samples[0], point) for network in networks]
        self.asked = "; ".join(dict.fromkeys(asked for _, asked in read))
        most = max(len(maps) for maps, _ in read)
        self._heads = list(heads) or list(range(1, most + 1))
        for head in self._heads:
            if not 1 <= head <= most:
                raise ConfigError(f"head {head} of {most}", where="--heads", fix=f"choose from 1 to {most}")
        self._peaks = [self._peaks_of(network, samples) for network in networks]

    def view(self) -> View:
        """How it is drawn."""
        return View(name="attention", columns=2 + len(self._heads), along_time=False, draw=self._draw)

    def _read(self, network: Network, frame: np.ndarray) -> Float32[np.ndarray, "K h w"]:
        """The mean over all heads, then the heads that are shown; zeros for a head that this network lacks."""
        maps, _ = attention_of(network.extractor, frame, self._point)
        chosen = [maps[head - 1] if head <= len(maps) else np.zeros_like(maps[0]) for head in self._heads]
        return np.stack([maps.mean(axis=0), *chosen])

    def _peaks_of(self, network: Network, samples: Sequence[np.ndarray]) -> Float32[np.ndarray, " K"]:
        read = np.stack([self._read(network, frame) for frame in samples])  # (F, K, h, w)
        return np.maximum(np.quantile(read, _BRIGHTEST, axis=(0, 2, 3)), _LEAST_PEAK).astype(np.float32)

    def _draw(self, number: int, frame: UInt8[np.ndarray, "H W 3"]) -> list[Tile]:
        size = tile_size(*frame.shape[:2], columns=2 + len(self._heads))
        small = at_size(frame, size)
        dim = np.repeat((_DIMMED * small.mean(axis=2, keepdims=True)).astype(np.uint8), 3, axis=2)
        names = ["mean of heads", *(f"head {head}" for head in self._heads)]
        tiles = []
        for network, peaks in zip(self._networks, self._peaks, strict=True):
            tiles.append(Tile(picture=self._marked(small, frame.shape[:2]), caption=f"{network.name}, frame {number}"))
            for title, values, peak in zip(names, self._read(network, frame), peaks, strict=True):
                picture = overlay_maps(
                    dim, stretched(values, size)[..., None], low=np.zeros(1, np.float32), high=peak[None], opacity=1.0
                )
                tiles.append(Tile(picture=picture, caption=f"{title}, to {peak:.2g}x"))
        return tiles

    def _marked(self, small: np.ndarray, size: tuple[int, ...]) -> UInt8[np.ndarray, "h w 3"]:
        return small if self._point is None else marked(small, np.array([self._point]), size)


def components_view(
    networks: Sequence[Network], samples: Sequence[UInt8[np.ndarray, "H W 3"]]
) -> tuple[View, dict[str, Any]]:
    """The frame, then each network's first three principal components as red, green and blue; what they explain.

    samples: frames that the one basis of the whole clip is made of.
    """
    bases = [color_basis(network.extractor.stream(samples)) for network in networks]
    columns = 1 + len(networks)

    def draw(number: int, frame: UInt8[np.ndarray, "H W 3"]) -> list[Tile]:
        size = tile_size(*frame.shape[:2], columns=columns)
        tiles = [Tile(picture=at_size(frame, size), caption=f"frame {number}")]
        for network, basis in zip(networks, bases, strict=True):
            colors = basis.colors(network.extractor.dense(frame[None])[0])
            tiles.append(Tile(picture=at_size(colors, size), caption=network.name))
        return tiles

    explained = {network.name: list(basis.explained) for network, basis in zip(networks, bases, strict=True)}
    return View(name="pca", columns=columns, along_time=True, draw=draw), {"explained": explained}


class CorrespondenceView:
    """For each network the best matches of some points, and the likeness of every patch to them.

    source: the frame that the points, x and y in its pixels, are given in. `rows` has what was found.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        source: UInt8[np.ndarray, "H W 3"],
        points: Sequence[tuple[float, float]],
        samples: Sequence[UInt8[np.ndarray, "H W 3"]],
    ) -> None:
        if not points:
            raise ConfigError("no point to look for", where="--points", fix="give x and y in pixels, e.g. 120 80")
        self._networks = list(networks)
        self._wanted = [
            features_at(network.extractor.dense(source[None])[0], list(points), source.shape[:2])
            for network in networks
        ]
        self._ranges = [self._range_of(place, samples) for place in range(len(networks))]
        self.rows: list[tuple[str, int, int, float, float, float]] = []
        """Network, frame, point, x, y, likeness: in the order in which frames were drawn."""

    def view(self) -> View:
        """How it is drawn."""
        return View(name="correspond", columns=2 * len(self._networks), along_time=True, draw=self._draw)

    def _match(self, place: int, frame: np.ndarray) -> Matches:
        features = self._networks[place].extractor.dense(frame[None])[0]
        return best_matches(self._wanted[place], features, frame.shape[:2])

    def _range_of(self, place: int, samples: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The likeness of each point below which the frame shows through, and the highest, which is brightest."""
        maps = np.stack([self._match(place, frame).maps for frame in samples])  # (F, h, w, K)
        return np.quantile(maps, _DARKEST_LIKENESS, axis=(0, 1, 2)).astype(np.float32), maps.max(axis=(0, 1, 2))

    def _draw(self, number: int, frame: UInt8[np.ndarray, "H W 3"]) -> list[Tile]:
        size = tile_size(*frame.shape[:2], columns=2 * len(self._networks))
        small = at_size(frame, size)
        tiles = []
        for place, network in enumerate(self._networks):
            found = self._match(place, frame)
            for point, ((x, y), likeness) in enumerate(zip(found.points, found.likeness, strict=True), start=1):
                self.rows.append((network.name, number, point, float(x), float(y), float(likeness)))
            low, high = self._ranges[place]
            maps = np.stack([stretched(values, size) for values in found.maps.transpose(2, 0, 1)], axis=2)
            tiles += [
                Tile(picture=marked(small, found.points, frame.shape[:2]), caption=f"{network.name}, frame {number}"),
                Tile(picture=overlay_maps(small, maps, low=low, high=high), caption="likeness"),
            ]
        return tiles


def marked(
    picture: UInt8[np.ndarray, "h w 3"], points: np.ndarray, size: tuple[int, ...]
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture, which is a frame of (height, width) at another size, with a dot at each point of that frame."""
    scale = np.array([picture.shape[1] / size[1], picture.shape[0] / size[0]])
    return overlay_points(picture, points.astype(np.float64) * scale, names=[""] * len(points), dot=_DOT)


def stretched(values: Float32[np.ndarray, "h w"], size: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
    """One value a patch, spread over the pixels of that patch at (height, width)."""
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.NEAREST))


def sampled(video: VideoReader, numbers: Sequence[int]) -> list[UInt8[np.ndarray, "H W 3"]]:
    """The frames that scales and bases are made of, one by one so that they need not have one size in memory twice."""
    return [video.frames([number])[0] for number in numbers]
