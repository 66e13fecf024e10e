"""How frames become features: the part of every number that published protocols leave unsaid.

Free of torch, so that `--help` can show it.
"""

from dataclasses import dataclass
from typing import Any, Literal

from kinema.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_INPUT_SIDE = 16384
"""Pixels a side of what a network is shown; more is refused before memory is taken for it."""


@dataclass(frozen=True, kw_only=True)
class InputSize:
    """The size frames are resized to before the network sees them. Exactly one of the three rules is set."""

    short_side: int | None = None
    """Pixels of the shorter side; the longer follows the aspect ratio, then is rounded down to `multiple`."""
    long_side: int | None = None
    """Pixels of the longer side; the shorter follows the aspect ratio, then is rounded down to `multiple`."""
    fixed: tuple[int, int] | None = None
    """(height, width) in pixels, whatever the aspect ratio."""
    multiple: int = 1
    """The free side is rounded to a multiple of this many pixels."""
    round_up: bool = False
    """Round the free side up instead of down."""

    def __post_init__(self) -> None:
        sides = [side for side in (self.short_side, self.long_side, *(self.fixed or ())) if side is not None]
        if len(sides) != (2 if self.fixed else 1):
            raise ConfigError(f"{self} names not exactly one size", fix="set one of short_side, long_side, fixed")
        for pixels in (*sides, self.multiple):
            if not 1 <= pixels <= MAX_INPUT_SIDE:
                raise ConfigError(f"a size of {pixels} pixels", where="size", fix=f"use 1 to {MAX_INPUT_SIDE}")

    def of(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in pixels that a frame of the given size is resized to."""
        if self.fixed is not None:
            return self.fixed
        if self.short_side is not None:
            kept, kept_is_height = self.short_side, height <= width
        else:
            assert self.long_side is not None
            kept, kept_is_height = self.long_side, height > width
        free = kept * (width / height if kept_is_height else height / width)
        steps = -int(-free // self.multiple) if self.round_up else int(free // self.multiple)
        free_side = max(steps, 1) * self.multiple
        return (kept, free_side) if kept_is_height else (free_side, kept)


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """What a frozen `FeatureExtractor` obeys; part of every result made with it."""

    size: InputSize = InputSize(short_side=480, multiple=64)
    resize: Literal["bilinear", "bicubic", "area"] = "bilinear"
    """Interpolation of frames, as OpenCV does it (no antialiasing but for `area`)."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    layer: int = -1
    """Block whose output is read: 1 is the first, -1 the last. The encoder's final norm is applied to it."""
    centred: bool = False
    """Subtract the mean feature before the cosine (streaming: the mean over the first labelled frame)."""
    positions: Literal["interpolated", "interpolated_offset", "recomputed"] = "interpolated_offset"
    """Position embedding at another grid: bicubic; bicubic with DINO's 0.1 added to the grid before dividing; or
    sin-cos recomputed (only for sin-cos positions)."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of the network; `auto` is bf16 where the processor multiplies it fast."""

    def __post_init__(self) -> None:
        if not all(0 < deviation < float("inf") for deviation in self.std):
            raise ConfigError(f"deviations {self.std}", where="std", fix="pixels are divided by them: give more than 0")


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings (`dataclasses.asdict`) by their dotted names, e.g. `size.short_side`."""
    named: dict[str, Any] = {}
    for name, value in values.items():
        named |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return named
