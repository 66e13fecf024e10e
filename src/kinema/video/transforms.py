"""One random draw a clip, applied to all its frames, so that motion between frames stays motion in the scene.

Free of torch until colors are changed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from kinema.errors import ConfigError
from kinema.settings import IMAGENET_MEAN, IMAGENET_STD
from kinema.video.photometric import ColorChange, Photometric
from kinema.video.rand_augment import Operation, RandAugment, augment_frame

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True, kw_only=True)
class ClipTransform:
    """Random resized crop, flip and changes, the same for every frame of a clip (SiamMAE, Table 4a: crop and flip)."""

    scale: tuple[float, float] = (0.5, 1.0)
    """Share of the frame's area that the crop covers, lowest and highest, in (0, 1]."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width over height of the crop, lowest and highest; drawn uniformly in its logarithm."""
    sides: tuple[float, ...] = ()
    """Sides of the crop as shares of the frame's short side, each in (0, 1]; empty for crops by `scale` and `ratio`,
    which these replace. Width and height are drawn from neighboring shares, at one of 13 fixed places: the multi-scale
    crop of TSN (Wang et al. 2016, arXiv:1608.00859), which VideoMAE takes for pre-training."""
    flip: float = 0.5
    """Probability of mirroring left and right."""
    photometric: Photometric = Photometric()
    """Changes of color and sharpness, after the crop."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """Of the crop to its final size; antialiased either way."""
    rand_augment: RandAugment = RandAugment()
    """Random changes of the whole frames, before they are cropped."""
    erasing: float = 0.0
    """Probability that a box of the crop becomes noise (random erasing, Zhong et al. 2020): 2 % to a third of its area,
    the same place in every frame of the clip, fresh noise in each."""

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ConfigError(f"crop scale {self.scale}", where="scale", fix="give lowest and highest share in (0, 1]")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ConfigError(f"crop ratio {self.ratio}", where="ratio", fix="give lowest and highest, positive")
        if not all(0 < side <= 1 for side in self.sides):
            raise ConfigError(f"crop sides {self.sides}", where="sides", fix="give shares of the short side in (0, 1]")
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"flip probability {self.flip}", where="flip", fix="give a number in [0, 1]")
        if not 0 <= self.erasing <= 1:
            raise ConfigError(f"erasing probability {self.erasing}", where="erasing", fix="give a number in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class Erased:
    """A box of noise; places as shares of the crop's sides."""

    top: float
    left: float
    height: float
    width: float
    seed: int
    """Of the noise."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What one draw does to every frame of a clip; places in pixels of the whole frame."""

    top: int
    left: int
    height: int
    width: int
    is_flipped: bool
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    colors: ColorChange = ColorChange()
    operations: tuple[Operation, ...] = ()
    """RandAugment's changes, of the whole frames."""
    erased: Erased | None = None
    """The box that becomes noise, in the crop as it is delivered."""


def draw_view(rng: np.random.Generator, height: int, width: int, config: ClipTransform) -> View:
    """One random resized crop, flip and change of frames of `height` × `width` pixels."""
    draw_crop = _draw_multi_scale_crop if config.sides else _draw_crop
    top, left, crop_height, crop_width = draw_crop(rng, height, width, config)
    is_flipped = bool(rng.random() < config.flip)
    colors = config.photometric.draw(rng)
    return View(
        top=top,
        left=left,
        height=crop_height,
        width=crop_width,
        is_flipped=is_flipped,
        interpolation=config.interpolation,
        colors=colors,
        operations=config.rand_augment.draw(rng),
        erased=_draw_erased(rng) if config.erasing > 0 and rng.random() < config.erasing else None,
    )


def largest_reduction(view: View, reductions: Sequence[int], *, height: int, width: int) -> int:
    """The largest of the ascending `reductions` that leaves the view's crop at least `height` × `width` pixels."""
    fits = [k for k in reductions if view.height >= k * height and view.width >= k * width]
    return fits[-1] if fits else reductions[0]


def apply_view(
    frames: UInt8[np.ndarray, "T H W 3"],
    view: View,
    *,
    height: int,
    width: int,
    reduction: int = 1,
) -> UInt8[np.ndarray, "T h w 3"]:
    """The view of every frame, (T, height, width, 3). reduction: what the frames' sides were divided by already."""
    if view.operations:
        frames = np.stack([augment_frame(frame, view.operations) for frame in frames])
    resized = np.stack([_cut(frame, view, height, width, reduction) for frame in frames])
    resized = view.colors.apply(resized)
    if view.is_flipped:
        resized = np.ascontiguousarray(resized[:, :, ::-1])
    return resized if view.erased is None else _erase(resized, view.erased)


def _erase(frames: np.ndarray, box: Erased) -> np.ndarray:
    """Frames with the box filled by noise that is standard normal once pixels are standardized."""
    height, width = frames.shape[1:3]
    top, left = int(box.top * height), int(box.left * width)
    bottom, right = top + max(round(box.height * height), 1), left + max(round(box.width * width), 1)
    hole = frames[:, top:bottom, left:right]
    noise = np.random.default_rng(box.seed).standard_normal(hole.shape, dtype=np.float32)
    erased = frames.copy()
    erased[:, top:bottom, left:right] = np.rint(255 * (noise * IMAGENET_STD + IMAGENET_MEAN)).clip(0, 255)
    return erased


def _draw_erased(rng: np.random.Generator) -> Erased | None:
    """The first of ten boxes that fits; None where none does. Area 2 % to a third, sides 0.3 to 3.3 of each other."""
    for _ in range(10):
        area = rng.uniform(0.02, 1 / 3)
        ratio = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
        height, width = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if height < 1 and width < 1:
            top, left = rng.uniform(0, 1 - height), rng.uniform(0, 1 - width)
            return Erased(top=top, left=left, height=height, width=width, seed=int(rng.integers(2**63)))
    return None


def _cut(frame: np.ndarray, view: View, height: int, width: int, reduction: int) -> np.ndarray:
    top, left, bottom, right = view.top, view.left, view.top + view.height, view.left + view.width
    if reduction == 1:
        return _resize(frame[top:bottom, left:right], height, width, view.interpolation)
    box = (left / reduction, top / reduction, right / reduction, bottom / reduction)  # may lie between pixels
    return np.asarray(Image.fromarray(frame).resize((width, height), _FILTERS[view.interpolation], box=box))


def resize_short_side(frame: UInt8[np.ndarray, "H W 3"], short_side: int) -> UInt8[np.ndarray, "h w 3"]:
    """The frame reduced (bicubic, antialiased) so that its shorter side has `short_side` pixels; never enlarged."""
    scale = short_side / min(frame.shape[:2])
    if scale >= 1:
        return frame
    return _resize(frame, max(round(frame.shape[0] * scale), 1), max(round(frame.shape[1] * scale), 1), "bicubic")


def _resize(frame: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((width, height), _FILTERS[interpolation]))


_PLACES = (
    *((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)),  # the corners and the center
    *((0, 2), (4, 2), (2, 4), (2, 0)),  # the middles of the edges
    *((1, 1), (3, 1), (1, 3), (3, 3)),  # between the center and the corners
)
"""Where a multi-scale crop may lie, (x, y) in quarters of what the crop leaves free."""


def _draw_multi_scale_crop(
    rng: np.random.Generator, height: int, width: int, config: ClipTransform
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a crop whose sides are neighbors among `config.sides`, all pairs alike likely.

    VideoMAE's code also makes sides within 3 pixels of the network's input equal to it, which is left out here.
    """
    sides = [int(min(height, width) * side) for side in config.sides]
    pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    crop_height, crop_width = (max(side, 1) for side in pairs[int(rng.integers(len(pairs)))])
    x, y = _PLACES[int(rng.integers(len(_PLACES)))]
    return (height - crop_height) // 4 * y, (width - crop_width) // 4 * x, crop_height, crop_width


def _draw_crop(rng: np.random.Generator, height: int, width: int, config: ClipTransform) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the crop: the first of ten draws that fits, else the largest centered one."""
    for _ in range(10):
        area = height * width * rng.uniform(*config.scale)
        ratio = math.exp(rng.uniform(math.log(config.ratio[0]), math.log(config.ratio[1])))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(0, height - crop_height, endpoint=True))
            left = int(rng.integers(0, width - crop_width, endpoint=True))
            return top, left, crop_height, crop_width
    crop_height, crop_width = height, width
    if width / height < config.ratio[0]:
        crop_height = min(round(width / config.ratio[0]), height)
    elif width / height > config.ratio[1]:
        crop_width = min(round(height * config.ratio[1]), width)
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width
