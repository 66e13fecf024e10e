"""The settings in which published label-propagation procedures differ, as one type.

Two lineages are values of it. DINO's (from UVC): the first frame and the last `context` predicted frames, a square
window on all of them. CRW's: the `context` frames before the target in a video padded on the left with its first frame,
inside a disc, and one more copy of the first frame that no window limits. Free of torch, so that `--help` can show it.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from kinema.errors import ConfigError

Padding = Literal["none", "first_frame"]
Window = Literal["square", "disc"]


@dataclass(frozen=True, kw_only=True)
class PropagationConfig:
    """How a token finds the labelled tokens it resembles, and how their labels are averaged.

    References (the first frame, and every later frame given labels by hand) are always in the context.
    """

    context: int
    """Frames kept besides the references: the most recent ones. 0 leaves the references alone."""
    padding: Padding = "none"
    """What stands for frames before the first. `none`: nothing, and references are not counted among the recent frames
    (DINO). `first_frame`: copies of the first frame, each a candidate of its own, so that the top-k of an early frame
    can be k copies of one match; references are also counted among the recent frames (CRW)."""
    window: Window
    """Candidates of a token, by distance on the token grid: `square` where max(|dy|, |dx|) <= radius, `disc` where
    sqrt(dy² + dx²) < radius."""
    radius: float | int
    """In tokens, above 0. At least as large as the grid: no window."""
    window_covers_first: bool
    """Whether the window also limits the references; if not, all their tokens are candidates."""
    top_k: int
    """Candidates kept for each token, the most similar of the whole context together."""
    temperature: float | int
    """Above 0; the kept candidates' weights are softmax(cosine / temperature). DINO's exponential divided by its sum is
    the same, but that candidates exactly equal to the k-th are all kept there; here exactly `top_k` are."""
    tile: int = 8
    """Side, in tokens, of the squares of queries compared at once. Changes speed and memory, not the labels."""

    def __post_init__(self) -> None:
        for name, choices in (("padding", Padding), ("window", Window)):
            if getattr(self, name) not in get_args(choices):
                raise _refusal(self, name, f"choose one of {', '.join(get_args(choices))}")
        for name, least in (("context", 0), ("top_k", 1), ("tile", 1)):
            if getattr(self, name) < least:
                raise _refusal(self, name, f"use {least} or more")
        for name in ("radius", "temperature"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise _refusal(self, name, "use a finite number above 0")

    @property
    def reach(self) -> int:
        """The largest difference of rows, or of columns, inside the window."""
        return math.floor(self.radius) if self.window == "square" else math.ceil(self.radius) - 1


def _refusal(config: PropagationConfig, name: str, fix: str) -> ConfigError:
    return ConfigError(f"{name} cannot be {getattr(config, name)!r}", where=f"propagation.{name}", fix=fix)
