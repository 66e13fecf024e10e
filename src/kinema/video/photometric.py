"""Changes of color and sharpness that contrastive methods and self-distillation make of every view.

Free of torch until hue is turned.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from kinema.errors import ConfigError

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601, by which a color becomes a gray."""
_SOLARIZED_FROM = 128


@dataclass(frozen=True, kw_only=True)
class Photometric:
    """Random changes in this order: jitter, gray, blur, solarizing; all off by default."""

    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Strengths of brightness, contrast, saturation and hue: the first three are multiplied by factors drawn from
    [1 - s, 1 + s], the hue is turned by up to s of the circle; made in this order. At most 1, hue 0.5."""
    jitter_probability: float = 1.0
    gray: float = 0.0
    """Probability of losing all color."""
    blur: float = 0.0
    """Probability of a Gaussian blur."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Its deviation, lowest and highest, in pixels of the finished crop."""
    solarize: float = 0.0
    """Probability that all values from 128 on are inverted."""
    second_blur: float | None = None
    """`blur` of every second frame, where frames have views of their own; None: the same."""
    second_solarize: float | None = None
    """`solarize` of every second frame, likewise (BYOL: Grill et al. 2020, arXiv:2006.07733, appendix B)."""

    def __post_init__(self) -> None:
        highest = (1.0, 1.0, 1.0, 0.5)
        if not all(0 <= strength <= most for strength, most in zip(self.jitter, highest, strict=True)):
            fix = "give brightness, contrast, saturation in [0, 1], hue in [0, 0.5]"
            raise ConfigError(f"jitter {self.jitter}", where="photometric.jitter", fix=fix)
        for name in ("jitter_probability", "gray", "blur", "solarize", "second_blur", "second_solarize"):
            probability = getattr(self, name)
            if probability is not None and not 0 <= probability <= 1:
                where, fix = f"photometric.{name}", "give a number in [0, 1]"
                raise ConfigError(f"probability {probability}", where=where, fix=fix)
        if not 0 < self.blur_sigma[0] <= self.blur_sigma[1] < math.inf:
            fix = "give lowest and highest, positive"
            raise ConfigError(f"blur of {self.blur_sigma}", where="photometric.blur_sigma", fix=fix)

    @property
    def has_second(self) -> bool:
        """Whether every second view differs."""
        return self.second_blur is not None or self.second_solarize is not None

    def second(self) -> "Photometric":
        """The changes of every second view."""
        blur = self.blur if self.second_blur is None else self.second_blur
        solarize = self.solarize if self.second_solarize is None else self.second_solarize
        return replace(self, blur=blur, solarize=solarize)

    def draw(self, rng: np.random.Generator) -> "ColorChange":
        """What one draw changes. What is off takes nothing from the generator."""
        jitter = None
        if any(self.jitter) and _happens(rng, self.jitter_probability):
            brightness, contrast, saturation = (rng.uniform(1 - most, 1 + most) for most in self.jitter[:3])
            jitter = (brightness, contrast, saturation, rng.uniform(-self.jitter[3], self.jitter[3]))
        is_gray = _happens(rng, self.gray)
        blur_sigma = rng.uniform(*self.blur_sigma) if _happens(rng, self.blur) else None
        return ColorChange(
            jitter=jitter, is_gray=is_gray, blur_sigma=blur_sigma, is_solarized=_happens(rng, self.solarize)
        )


COLORS = Photometric(jitter=(0.4, 0.4, 0.2, 0.1), jitter_probability=0.8, gray=0.2)
"""Those of SimCLR (Chen et al. 2020, arXiv:2002.05709, appendix A) at the strength that BYOL, MoCo v3 and DINO took."""


@dataclass(frozen=True, kw_only=True)
class ColorChange:
    """What one draw does to the pixels of every frame of a view."""

    jitter: tuple[float, float, float, float] | None = None
    """Factors of brightness, contrast and saturation, and the turn of the hue in circles."""
    is_gray: bool = False
    blur_sigma: float | None = None
    """In pixels."""
    is_solarized: bool = False

    def apply(self, frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T H W 3"]:
        """The frames, changed alike."""
        if self.jitter is not None:
            frames = _jittered(frames, *self.jitter)
        if self.is_gray:
            frames = np.rint(frames @ _LUMA).astype(np.uint8)[..., None].repeat(3, axis=-1)
        if self.blur_sigma is not None:
            frames = _blurred(frames, self.blur_sigma)
        return np.where(frames >= _SOLARIZED_FROM, 255 - frames, frames) if self.is_solarized else frames


def _happens(rng: np.random.Generator, probability: float) -> bool:
    return probability > 0 and (probability == 1 or bool(rng.random() < probability))


def _blurred(frames: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])


def _jittered(frames: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float) -> np.ndarray:
    from kornia import enhance
    from kornia.image import image_to_tensor  # torch only comes in with kornia: importing this module stays cheap

    clip = image_to_tensor(frames).float() / 255  # (T, 3, H, W)
    clip = enhance.adjust_brightness_accumulative(clip, brightness)
    clip = enhance.adjust_contrast_with_mean_subtraction(clip, contrast)
    clip = enhance.adjust_saturation_with_gray_subtraction(clip, saturation)
    clip = enhance.adjust_hue(clip, hue * 2 * math.pi)
    return (clip * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
