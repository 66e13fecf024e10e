"""RandAugment: a few random changes of color and shape, the same for every frame of a clip (Cubuk et al. 2020,
arXiv:1909.13719).

The fifteen changes and their strengths are those that fine-tuning of MAE and VideoMAE names `inc1`: every change grows
with the magnitude. They were held against the lists of timm and of PySlowFast's version for video. One difference: at
magnitude 10 posterizing leaves one bit of each value, where theirs leaves none, a black frame.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageOps

from kinema.errors import ConfigError

Operation = tuple[str, float]
"""Name of a change, and how much of it."""
_GRAY = (124, 116, 104)
"""Fills what a turned or moved frame leaves empty: the mean color of ImageNet."""
_HIGHEST = 10
"""Magnitude at which a change is strongest."""
_AFFINE = {
    "shear_x": lambda amount, width, height: (1, amount, 0, 0, 1, 0),
    "shear_y": lambda amount, width, height: (1, 0, 0, amount, 1, 0),
    "translate_x": lambda amount, width, height: (1, 0, amount * width, 0, 1, 0),
    "translate_y": lambda amount, width, height: (1, 0, 0, 0, 1, amount * height),
}
_PLAIN: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "auto_contrast": lambda image, amount: ImageOps.autocontrast(image),
    "equalize": lambda image, amount: ImageOps.equalize(image),
    "invert": lambda image, amount: ImageOps.invert(image),
    "rotate": lambda image, amount: image.rotate(amount, resample=Image.Resampling.BICUBIC, fillcolor=_GRAY),
    "posterize": lambda image, amount: ImageOps.posterize(image, int(amount)),
    "solarize": lambda image, amount: ImageOps.solarize(image, int(amount)),
    "solarize_add": lambda image, amount: image.point([min(k + int(amount), 255) if k < 128 else k for k in _BYTES]),
    "color": lambda image, amount: ImageEnhance.Color(image).enhance(amount),
    "contrast": lambda image, amount: ImageEnhance.Contrast(image).enhance(amount),
    "brightness": lambda image, amount: ImageEnhance.Brightness(image).enhance(amount),
    "sharpness": lambda image, amount: ImageEnhance.Sharpness(image).enhance(amount),
}
_BYTES = [*range(256)] * 3
_AMOUNTS: dict[str, Callable[[float, float], float]] = {
    "auto_contrast": lambda share, sign: 0.0,
    "equalize": lambda share, sign: 0.0,
    "invert": lambda share, sign: 0.0,
    "rotate": lambda share, sign: sign * 30 * share,  # degrees
    "posterize": lambda share, sign: max(4 - int(4 * share), 1),  # bits kept
    "solarize": lambda share, sign: 256 - int(256 * share),  # values from here on are inverted
    "solarize_add": lambda share, sign: int(110 * share),
    "color": lambda share, sign: max(1 + sign * 0.9 * share, 0.1),
    "contrast": lambda share, sign: max(1 + sign * 0.9 * share, 0.1),
    "brightness": lambda share, sign: max(1 + sign * 0.9 * share, 0.1),
    "sharpness": lambda share, sign: max(1 + sign * 0.9 * share, 0.1),
    "shear_x": lambda share, sign: sign * 0.3 * share,
    "shear_y": lambda share, sign: sign * 0.3 * share,
    "translate_x": lambda share, sign: sign * 0.45 * share,  # of the width
    "translate_y": lambda share, sign: sign * 0.45 * share,
}
OPERATIONS = tuple(_AMOUNTS)


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """How many changes a clip gets, and how strong they are; off by default. VideoMAE: 4 of magnitude 7."""

    num_ops: int = 0
    """Changes drawn for each clip, with replacement."""
    magnitude: float = 7.0
    """Mean strength, 0 to 10."""
    magnitude_std: float = 0.5
    """Deviation of each change's strength."""
    prob: float = 0.5
    """Probability that a drawn change is made."""

    def __post_init__(self) -> None:
        if self.num_ops < 0:
            raise ConfigError(f"{self.num_ops} changes", where="rand_augment.num_ops", fix="give 0 or more")
        if not 0 <= self.magnitude <= _HIGHEST or self.magnitude_std < 0:
            strength = f"magnitude {self.magnitude} ± {self.magnitude_std}"
            raise ConfigError(strength, where="rand_augment.magnitude", fix=f"give 0 to {_HIGHEST}, and 0 or more")
        if not 0 <= self.prob <= 1:
            raise ConfigError(f"probability {self.prob}", where="rand_augment.prob", fix="give a number in [0, 1]")

    def draw(self, rng: np.random.Generator) -> tuple[Operation, ...]:
        """The changes of one clip, in order."""
        drawn = []
        for _ in range(self.num_ops):
            name = OPERATIONS[int(rng.integers(len(OPERATIONS)))]
            is_made, sign = rng.random() < self.prob, 1.0 if rng.random() < 0.5 else -1.0
            magnitude = float(np.clip(rng.normal(self.magnitude, self.magnitude_std), 0, _HIGHEST))
            if is_made:
                drawn.append((name, float(_AMOUNTS[name](magnitude / _HIGHEST, sign))))
        return tuple(drawn)


def augment_frame(frame: UInt8[np.ndarray, "H W 3"], operations: tuple[Operation, ...]) -> UInt8[np.ndarray, "H W 3"]:
    """The frame with every change made, one after the other."""
    image = Image.fromarray(frame)
    for name, amount in operations:
        image = _changed(image, name, amount)
    return np.asarray(image)


def _changed(image: Image.Image, name: str, amount: float) -> Image.Image:
    if name in _PLAIN:
        return _PLAIN[name](image, amount)
    matrix = _AFFINE[name](amount, image.width, image.height)
    transform = Image.Transform.AFFINE
    return image.transform(image.size, transform, matrix, resample=Image.Resampling.BICUBIC, fillcolor=_GRAY)
