"""Views of frozen networks: attention maps, principal components and correspondences of each frame."""

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
from kinema.tools.visualize.attention import compute_attention
from kinema.tools.visualize.feature_maps import Matches, find_best_matches, fit_color_basis, pick_features
from kinema.tools.visualize.sheets import CaptionedPicture, FrameView, compute_tile_size, resize_picture
from kinema.video.base import VideoReader
from kinema.video.overlays import overlay_maps, overlay_points
from kinema.weights.load import load

_BRIGHTEST = 0.995
"""Quantile of a head's attention that has the brightest color."""
_LEAST_PEAK = 2.0
"""Least multiple of uniform attention for the brightest color, so that noise does not look like a finding."""
_DIMMED = 0.55
"""Brightness factor of the frame under an attention map."""
_DARKEST_LIKENESS = 0.8
"""Share of a clip's patches that are drawn as unlike a point."""
_DOT = 0.025
"""Radius of a point relative to the picture's shorter side."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and its name in captions."""

    name: str
    extractor: FeatureExtractor


def load_networks(
    weights: str, beside: str | None, *, settings: FeatureSettings, device: str = "auto"
) -> list[Network]:
    """Loads the network and the one to compare it with: `untrained`, other weights, or `none`.

    beside: None means `untrained` if the network is a ViT, otherwise `none`. Raises WeightsError if an untrained form
    is requested of a network that has none, ConfigError if weights are compared with themselves.
    """
    own = load(weights, settings=settings, device=device)
    networks = [Network(name="trained", extractor=own)]
    if beside == "none" or (beside is None and not _has_twin(own, weights)):
        return [Network(name=_shorten(weights), extractor=own)]
    if beside not in (None, "untrained"):
        if beside == weights:
            raise ConfigError(f"{weights} next to itself", where="--beside", fix="name other weights, or none")
        other = load(beside, settings=settings, device=device)
        names = [_shorten(weights), _shorten(beside)]
        first, second = names if names[0] != names[1] else (weights, beside)
        return [Network(name=first, extractor=own), Network(name=second, extractor=other)]
    return [*networks, Network(name="untrained", extractor=_build_untrained_twin(own))]


def _shorten(weights: str) -> str:
    """Returns a short name for captions: the last part of a path, or the whole name of a baseline."""
    return weights if ":" in weights else weights.rstrip("/").rpartition("/")[2]


def _has_twin(extractor: FeatureExtractor, weights: str) -> bool:
    return isinstance(extractor.backbone, ViT) and not weights.startswith("untrained:")


def _build_untrained_twin(extractor: FeatureExtractor, *, seed: int = 0) -> FeatureExtractor:
    """Returns the same network with the weights that a run with that seed starts from."""
    if not isinstance(extractor.backbone, ViT):
        what = "the network has no untrained form"
        raise WeightsError(what, where=extractor.source.source, fix="use --beside none, or name other weights")
    twin = copy.deepcopy(extractor.backbone).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin.init_weights()
    source = replace(extractor.source, source=f"{extractor.source.source}, untrained, seed {seed}", sha256=None)
    return FeatureExtractor(twin.to(extractor.device), extractor.settings, source=source, device=extractor.device)


class AttentionView:
    """Attention maps: the frame, the mean over heads, then single heads, with a row for each network.

    Each head has one scale for the whole clip, from dark (zero) to the brightest color at the multiple of uniform
    attention that its caption names. point: x and y of the query patch; None means the class token. heads: counted
    from 1; empty means all. `query_name` describes the query, for each network if they differ.
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
        first = [compute_attention(network.extractor, samples[0], point) for network in networks]
        self.query_name = "; ".join(dict.fromkeys(name for _, name in first))
        num_heads = max(len(maps) for maps, _ in first)
        self._heads = list(heads) or list(range(1, num_heads + 1))
        for head in self._heads:
            if not 1 <= head <= num_heads:
                raise ConfigError(f"head {head} of {num_heads}", where="--heads", fix=f"choose from 1 to {num_heads}")
        self._peaks = [self._measure_peaks(network, samples) for network in networks]

    def build_view(self) -> FrameView:
        """Returns the view to draw a video with."""
        return FrameView(name="attention", columns=2 + len(self._heads), along_time=False, draw=self._draw)

    def _read(self, network: Network, frame: np.ndarray) -> Float32[np.ndarray, "K h w"]:
        """Returns the mean over all heads, then the chosen heads, with zeros for a head that this network lacks."""
        maps, _ = compute_attention(network.extractor, frame, self._point)
        chosen = [maps[head - 1] if head <= len(maps) else np.zeros_like(maps[0]) for head in self._heads]
        return np.stack([maps.mean(axis=0), *chosen])

    def _measure_peaks(self, network: Network, samples: Sequence[np.ndarray]) -> Float32[np.ndarray, " K"]:
        read = np.stack([self._read(network, frame) for frame in samples])  # (F, K, h, w)
        return np.maximum(np.quantile(read, _BRIGHTEST, axis=(0, 2, 3)), _LEAST_PEAK).astype(np.float32)

    def _draw(self, number: int, frame: UInt8[np.ndarray, "H W 3"]) -> list[CaptionedPicture]:
        size = compute_tile_size(*frame.shape[:2], columns=2 + len(self._heads))
        small = resize_picture(frame, size)
        dim = np.repeat((_DIMMED * small.mean(axis=2, keepdims=True)).astype(np.uint8), 3, axis=2)
        names = ["mean of heads", *(f"head {head}" for head in self._heads)]
        tiles = []
        for network, peaks in zip(self._networks, self._peaks, strict=True):
            marked = small if self._point is None else mark_points(small, np.array([self._point]), frame.shape[:2])
            tiles.append(CaptionedPicture(picture=marked, caption=f"{network.name}, frame {number}"))
            for title, values, peak in zip(names, self._read(network, frame), peaks, strict=True):
                attention = fill_patches(values, size)[..., None]
                picture = overlay_maps(dim, attention, low=np.zeros(1, np.float32), high=peak[None], opacity=1.0)
                tiles.append(CaptionedPicture(picture=picture, caption=f"{title}, to {peak:.2g}x"))
        return tiles


def build_components_view(
    networks: Sequence[Network], samples: Sequence[UInt8[np.ndarray, "H W 3"]]
) -> tuple[FrameView, dict[str, Any]]:
    """Returns the view of principal components as red, green and blue, and the variance that they explain.

    samples: frames that the basis of the whole clip is fitted to.
    """
    bases = [fit_color_basis(network.extractor.stream(samples)) for network in networks]
    columns = 1 + len(networks)

    def draw(number: int, frame: UInt8[np.ndarray, "H W 3"]) -> list[CaptionedPicture]:
        size = compute_tile_size(*frame.shape[:2], columns=columns)
        tiles = [CaptionedPicture(picture=resize_picture(frame, size), caption=f"frame {number}")]
        for network, basis in zip(networks, bases, strict=True):
            colors = basis.color(network.extractor.dense(frame[None])[0])
            tiles.append(CaptionedPicture(picture=resize_picture(colors, size), caption=network.name))
        return tiles

    explained = {network.name: list(basis.explained) for network, basis in zip(networks, bases, strict=True)}
    return FrameView(name="pca", columns=columns, along_time=True, draw=draw), {"explained": explained}


class CorrespondenceView:
    """Best matches of some points in every frame, and the similarity of every patch to them, for each network.

    source: the frame that the points refer to, with x and y in its pixels. `rows` collects the matches.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        source: UInt8[np.ndarray, "H W 3"],
        points: Sequence[tuple[float, float]],
        samples: Sequence[UInt8[np.ndarray, "H W 3"]],
    ) -> None:
        if not points:
            raise ConfigError("no point to match", where="--points", fix="give x and y in pixels, e.g. 120 80")
        self._networks = list(networks)
        self._wanted = [
            pick_features(network.extractor.dense(source[None])[0], list(points), source.shape[:2])
            for network in networks
        ]
        self._ranges = [self._measure_range(place, samples) for place in range(len(networks))]
        self.rows: list[tuple[str, int, int, float, float, float]] = []
        """(network, frame, point, x, y, similarity), in the order in which frames were drawn."""

    def build_view(self) -> FrameView:
        """Returns the view to draw a video with."""
        return FrameView(name="correspond", columns=2 * len(self._networks), along_time=True, draw=self._draw)

    def _match(self, place: int, frame: np.ndarray) -> Matches:
        features = self._networks[place].extractor.dense(frame[None])[0]
        return find_best_matches(self._wanted[place], features, frame.shape[:2])

    def _measure_range(self, place: int, samples: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Returns, for each point, the similarity below which the frame shows through, and the highest one."""
        maps = np.stack([self._match(place, frame).maps for frame in samples])  # (F, h, w, K)
        return np.quantile(maps, _DARKEST_LIKENESS, axis=(0, 1, 2)).astype(np.float32), maps.max(axis=(0, 1, 2))

    def _draw(self, number: int, frame: UInt8[np.ndarray, "H W 3"]) -> list[CaptionedPicture]:
        size = compute_tile_size(*frame.shape[:2], columns=2 * len(self._networks))
        small = resize_picture(frame, size)
        tiles = []
        for place, network in enumerate(self._networks):
            matches = self._match(place, frame)
            for point, ((x, y), likeness) in enumerate(zip(matches.points, matches.likeness, strict=True), start=1):
                self.rows.append((network.name, number, point, float(x), float(y), float(likeness)))
            low, high = self._ranges[place]
            maps = np.stack([fill_patches(values, size) for values in matches.maps.transpose(2, 0, 1)], axis=2)
            tiles += [
                CaptionedPicture(
                    picture=mark_points(small, matches.points, frame.shape[:2]),
                    caption=f"{network.name}, frame {number}",
                ),
                CaptionedPicture(picture=overlay_maps(small, maps, low=low, high=high), caption="likeness"),
            ]
        return tiles


def mark_points(
    picture: UInt8[np.ndarray, "h w 3"], points: np.ndarray, size: tuple[int, ...]
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the picture with a dot at each point. size: (height, width) of the frame that the points refer to."""
    scale = np.array([picture.shape[1] / size[1], picture.shape[0] / size[0]])
    return overlay_points(picture, points.astype(np.float64) * scale, names=[""] * len(points), dot=_DOT)


def fill_patches(values: Float32[np.ndarray, "h w"], size: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
    """Resizes a map with one value per patch to (height, width), by repeating each value."""
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.NEAREST))


def read_samples(video: VideoReader, numbers: Sequence[int]) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Reads the frames that scales and bases are fitted to, one by one, because a batch would hold them twice."""
    return [video.frames([number])[0] for number in numbers]
