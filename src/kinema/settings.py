"""How frames become features: the part of every number that published protocols leave unsaid.

Free of torch, so that `--help` can show it.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from kinema.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DINO_STD = (0.228, 0.224, 0.225)
"""What DINO's evaluation of propagation divides by: a slip in red that its published numbers depend on."""
MAX_INPUT_SIDE = 16384
"""Pixels a side of what a network is shown; more is refused before memory is taken for it."""
Pooling = Literal["mean", "class", "class_mean", "last4_class"]
"""One vector of a clip: the mean of its patch tokens; the class token; both joined (DINO's and iBOT's ViT-B, L); the
class tokens of the last four blocks joined (their ViT-S)."""
Interpolation = Literal["nearest", "bilinear", "bicubic", "area", "pillow_bicubic"]
"""As OpenCV resizes, without antialiasing but for `area`; `nearest` takes the pixel under the new one's center.
`pillow_bicubic` is Pillow's: antialiased, and another cubic."""
_SIZES_FOR_720P = ((1080, 1920), (816, 1920))


@dataclass(frozen=True, kw_only=True)
class InputSize:
    """The size frames are resized to before the network sees them. Exactly one of the first four rules is set."""

    short_side: int | None = None
    """Pixels of the shorter side; the longer follows the aspect ratio, then is rounded down to `multiple`."""
    long_side: int | None = None
    """Pixels of the longer side; the shorter follows the aspect ratio, then is rounded down to `multiple`."""
    fixed: tuple[int, int] | None = None
    """(height, width) in pixels, whatever the aspect ratio."""
    native: bool = False
    """The frame's own size, both sides rounded down to `multiple`."""
    multiple: int = 1
    """The free side, or both of `native`, are rounded to a multiple of this many pixels."""
    round_up: bool = False
    """Round up instead of down."""
    large_as_720p: bool = False
    """Frames of exactly 1080x1920 and 816x1920 become 720x1280, against running out of memory, as in INO's code."""

    def __post_init__(self) -> None:
        if [self.short_side, self.long_side, self.fixed, self.native or None].count(None) != 3:
            raise ConfigError(
                f"{self} names not exactly one size", fix="set one of short_side, long_side, fixed, native"
            )
        for pixels in (self.short_side, self.long_side, *(self.fixed or ()), self.multiple):
            if pixels is not None and not 1 <= pixels <= MAX_INPUT_SIDE:
                raise ConfigError(f"a size of {pixels} pixels", where="size", fix=f"use 1 to {MAX_INPUT_SIDE}")

    def of(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in pixels that a frame of the given size is resized to."""
        if self.large_as_720p and (height, width) in _SIZES_FOR_720P:
            return 720, 1280
        if self.fixed is not None:
            return self.fixed
        if self.native:
            return self._rounded(height, 1), self._rounded(width, 1)
        if self.short_side is not None:
            kept, kept_is_height = self.short_side, height <= width
        else:
            assert self.long_side is not None
            kept, kept_is_height = self.long_side, height > width
        if kept_is_height:
            return kept, self._rounded(kept * width, height)
        return self._rounded(kept * height, width), kept

    def _rounded(self, pixels: int, share: int) -> int:
        """A side of pixels / share, in whole numbers because a float may fall on the wrong side of a multiple."""
        step = share * self.multiple
        return max(-(-pixels // step) if self.round_up else pixels // step, 1) * self.multiple


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """What a frozen `FeatureExtractor` obeys; part of every result made with it."""

    size: InputSize = InputSize(short_side=480, multiple=64)
    resize: Interpolation = "bilinear"
    """Interpolation of frames."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    """Pixels in [0, 1] are standardized by mean and std. A network trained with other statistics than ImageNet's keeps
    its own where these are ImageNet's; the result's `weights` name them."""
    layer: int = -1
    """Block whose output is read: 1 is the first, -1 the last, 0 the middle one (6 of 12, whatever the depth). The
    encoder's final norm is applied to it."""
    attention_window: int | None = None
    """Side, in tokens, of the windows that attention is limited to, shifted by half a window in every second block.
    Large frames are then read several times faster, and each token attends to about as many others as in training.
    None: attention over the whole frame, as every published protocol has it. Means nothing to networks without
    attention, to clips read as one, and to positions inside attention."""
    tubelet: Literal["repeat", "slide"] = "repeat"
    """What fills a tubelet of an encoder that embeds several frames at once (VideoMAE): the frame repeated, or the
    frames up to it (before the first, the first). Means nothing to an encoder of single frames."""
    centered: bool = False
    """Subtract the mean feature before the cosine (streaming: the mean over the first labeled frame)."""
    positions: Literal["interpolated", "interpolated_offset", "interpolated_antialiased", "recomputed"] = (
        "interpolated_offset"
    )
    """Position embedding at another grid: bicubic; bicubic with DINO's 0.1 added to the grid before dividing; bicubic
    and antialiased (DINOv2 with registers); or sin-cos recomputed (only for sin-cos positions). Means nothing to
    positions inside attention."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of the network; `auto` is bf16 where the processor multiplies it fast."""
    affinity: Literal["features", "decoder"] = "features"
    """What says how alike two tokens are: their features, or how a decoder that was trained to look into an earlier
    frame (SiamMAE's) attends from one to the other. On the command line `decoder` comes with `propagation.similarity
    dot` and, as attention itself has it, `propagation.temperature 1`, unless other values are typed."""
    decoder_block: int = -1
    """Block of that decoder whose cross-attention is read: 1 is the first, -1 the last. From the second on its queries
    have looked into a frame already: into their own."""

    def __post_init__(self) -> None:
        changed = self.layer != -1 or self.centered or self.attention_window is not None
        if self.affinity == "decoder" and changed:
            what = (
                f"a decoder's affinity with layer {self.layer}, centered {self.centered} "
                f"and attention_window {self.attention_window}"
            )
            fix = (
                "a decoder reads the last block as it is: set features.layer to -1 and features.centered to False, "
                "and features.attention_window to None"
            )
            raise ConfigError(what, where="affinity", fix=fix)
        if self.attention_window is not None and self.attention_window < 1:
            raise ConfigError(
                f"windows of {self.attention_window} tokens", where="attention_window", fix="give 1 or more, or None"
            )
        if not all(0 < deviation < float("inf") for deviation in self.std):
            raise ConfigError(f"deviations {self.std}", where="std", fix="pixels are divided by them: give more than 0")


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings (`dataclasses.asdict`) by their dotted names, e.g. `size.short_side`."""
    named: dict[str, Any] = {}
    for name, value in values.items():
        named |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return named


def rebuilt(kind: Any, values: Any) -> Any:
    """A frozen configuration of that kind from what `dataclasses.asdict` and JSON made of it.

    Of a union of kinds the one whose fields are named. ConfigError for fields that no such configuration has.
    """
    if get_origin(kind) in (Union, UnionType):
        return _one_of(get_args(kind), values)
    if is_dataclass(kind):
        kinds = get_type_hints(kind)
        if not isinstance(values, dict) or values.keys() - kinds.keys():
            what = f"settings that {getattr(kind, '__name__', kind)} does not have"
            raise ConfigError(what, fix="read them with the version of kinema that wrote them")
        given = {name: rebuilt(kinds[name], value) for name, value in values.items()}
        try:
            return cast(Callable[..., Any], kind)(**given)
        except TypeError as error:
            raise ConfigError(f"settings that cannot work: {error}", fix="restore the file") from error
    if get_origin(kind) is Literal and values not in get_args(kind):
        raise ConfigError(f"{values!r} is none of {get_args(kind)}", fix="restore the file")
    return tuple(values) if isinstance(values, list) else values


def _one_of(kinds: tuple[Any, ...], values: Any) -> Any:
    if not isinstance(values, dict):
        return tuple(values) if isinstance(values, list) else values
    for kind in kinds:
        if is_dataclass(kind) and values.keys() == {field.name for field in fields(kind)}:
            return rebuilt(kind, values)
    raise ConfigError(f"settings of no known kind: {', '.join(values)}", fix="restore the file")
