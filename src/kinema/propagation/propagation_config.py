"""The settings in which published label-propagation procedures differ, as one type.

Two lineages are values of it. DINO's (from UVC): the first frame and the last `context` predicted frames, a square
window on all of them. CRW's: the `context` frames before the target in a video padded on the left with its first frame,
inside a disc, and one more copy of the first frame that no window limits. Free of torch, so that `--help` can show it.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from kinema.errors import ConfigError

Padding = Literal["none", "counted", "first_frame"]
Window = Literal["square", "disc", "disc_inclusive"]
Similarity = Literal["cosine", "dot"]
Normalization = Literal["softmax", "exp_divide"]
LateObjects = Literal["reference", "own_context"]
Precision = Literal["auto", "fp32", "bf16", "half"]


@dataclass(frozen=True, kw_only=True)
class PropagationConfig:
    """How a token finds the labeled tokens it resembles, and how their labels are averaged.

    References (the first frame, and every later frame given labels by hand) are always in the context.
    """

    context: int
    """Frames kept besides the references: the most recent ones. 0 leaves the references alone."""
    padding: Padding = "none"
    """What stands for frames before the first. `none`: nothing, and references are not counted among the recent frames
    (DINO). `counted`: nothing, and a reference is a candidate twice while it is also one of the recent frames (VFS).
    `first_frame`: copies of the first frame, each a candidate of its own, so that the top-k of an early frame
    can be k copies of one match; references are also counted among the recent frames (CRW)."""
    window: Window
    """Candidates of a token, by distance on the token grid: `square` where max(|dy|, |dx|) <= radius, `disc` where
    sqrt(dy² + dx²) < radius (CRW), `disc_inclusive` where it is <= radius (DINOv3)."""
    radius: float | int
    """In tokens, above 0. At least as large as the grid: no window."""
    window_covers_first: bool
    """Whether the window also limits the references; if not, all their tokens are candidates."""
    top_k: int
    """Candidates kept for each token, the most similar of the whole context together."""
    temperature: float | int
    """Above 0; a kept candidate weighs exp(similarity / temperature), over the sum of all kept."""
    normalization: Normalization = "softmax"
    """Which candidates are kept where several equal the k-th: `softmax` keeps `top_k`, whichever come first (CRW);
    `exp_divide` keeps all of them (DINO, DINOv3, INO: a threshold at the k-th value), as still video has them."""
    similarity: Similarity = "cosine"
    """`cosine` of features and keys, or their product as they are, `dot`: an attention's scaled queries and keys."""
    late_objects: LateObjects = "reference"
    """What a label on a later frame does. `reference`: the frame joins the one context for good. `own_context`: objects
    that appear there open a context of their own, that frame and the recent ones after it, which votes for them alone;
    the contexts' votes are summed, the background's are the first one's (DUL, INO)."""
    precision: Precision = "auto"
    """Arithmetic of the similarities; all but `half` give the same labels. `bf16`: candidates are chosen in bf16 and
    compared again in fp32, where a bound on the rounding allows it; takes half as much memory again. `auto`: bf16 on a
    processor that has matrix instructions for it (AMX), fp32 elsewhere. `half`: keys and similarities in fp16; half the
    memory, fast on a GPU only, and labels differ in the third decimal."""
    tile: int = 12
    """Side, in tokens, of the squares of queries compared at once. Changes speed and memory, not the labels."""

    def __post_init__(self) -> None:
        for name, choices in (
            ("padding", Padding),
            ("window", Window),
            ("normalization", Normalization),
            ("similarity", Similarity),
            ("late_objects", LateObjects),
            ("precision", Precision),
        ):
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
        return math.ceil(self.radius) - 1 if self.window == "disc" else math.floor(self.radius)


def _refusal(config: PropagationConfig, name: str, fix: str) -> ConfigError:
    return ConfigError(f"{name} cannot be {getattr(config, name)!r}", where=f"propagation.{name}", fix=fix)
