"""One random draw a clip, applied to all its frames, so that motion between frames stays motion in the scene.

Free of torch until colours are changed.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from kinema.errors import ConfigError

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True, kw_only=True)
class ClipTransform:
    """Random resized crop, flip and colour, the same for every frame of a clip (SiamMAE, Table 4a: no colour)."""

    scale: tuple[float, float] = (0.5, 1.0)
    """Share of the frame's area that the crop covers, lowest and highest, in (0, 1]."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width over height of the crop, lowest and highest; drawn uniformly in its logarithm."""
    flip: float = 0.5
    """Probability of mirroring left and right."""
    color_jitter: float = 0.0
    """Strength s: brightness, contrast and saturation are multiplied by factors drawn from [1 - s, 1 + s] and the hue
    is turned by up to s / 4 of the circle, in this order. 0 leaves colours alone; at most 1."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """Of the crop to its final size; antialiased either way."""

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ConfigError(f"crop scale {self.scale}", where="scale", fix="give lowest and highest share in (0, 1]")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ConfigError(f"crop ratio {self.ratio}", where="ratio", fix="give lowest and highest, positive")
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"flip probability {self.flip}", where="flip", fix="give a number in [0, 1]")
        if not 0 <= self.color_jitter <= 1:
            raise ConfigError(f"colour jitter {self.color_jitter}", where="color_jitter", fix="give a number in [0, 1]")


def transform_clip(
    frames: UInt8[np.ndarray, "T H W 3"], config: ClipTransform, *, height: int, width: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "T h w 3"]:
    """The clip after one random resized crop, flip and colour change, (T, height, width, 3)."""
    top, left, crop_height, crop_width = _draw_crop(rng, frames.shape[1], frames.shape[2], config)
    is_flipped = rng.random() < config.flip
    cropped = frames[:, top : top + crop_height, left : left + crop_width]
    resized = np.stack([_resize(frame, height, width, config.interpolation) for frame in cropped])
    if config.color_jitter > 0:
        resized = _change_colors(resized, config.color_jitter, rng)
    return np.ascontiguousarray(resized[:, :, ::-1]) if is_flipped else resized


def resize_short_side(frame: UInt8[np.ndarray, "H W 3"], short_side: int) -> UInt8[np.ndarray, "h w 3"]:
    """The frame reduced (bicubic, antialiased) so that its shorter side has `short_side` pixels; never enlarged."""
    scale = short_side / min(frame.shape[:2])
    if scale >= 1:
        return frame
    return _resize(frame, max(round(frame.shape[0] * scale), 1), max(round(frame.shape[1] * scale), 1), "bicubic")


def _resize(frame: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((width, height), _FILTERS[interpolation]))


def _draw_crop(rng: np.random.Generator, height: int, width: int, config: ClipTransform) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the crop: the first of ten draws that fits, else the largest centred one."""
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


def _change_colors(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    from kornia import enhance
    from kornia.image import image_to_tensor  # torch only comes in with kornia: importing this module stays cheap

    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3).tolist()
    hue = rng.uniform(-strength / 4, strength / 4)
    clip = image_to_tensor(frames).float() / 255  # (T, 3, H, W)
    clip = enhance.adjust_brightness_accumulative(clip, brightness)
    clip = enhance.adjust_contrast_with_mean_subtraction(clip, contrast)
    clip = enhance.adjust_saturation_with_gray_subtraction(clip, saturation)
    clip = enhance.adjust_hue(clip, hue * 2 * math.pi)
    return (clip * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
