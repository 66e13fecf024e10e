"""The settings in which published label-propagation procedures differ.

Two lineages can be expressed. DINO's, which comes from UVC, compares with the first frame and the last `context`
predicted frames, all inside a square window. CRW's pads the video on the left with its first frame, compares with the
`context` frames before the target inside a disc, and adds one more copy of the first frame that no window limits. The
module does not import torch, so that `--help` can show the settings.
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
    """How a token finds the labeled tokens that it resembles, and how their labels are averaged.

    References are the first frame and every later frame that was labeled by hand. They always stay in the context.
    """

    context: int
    """Number of most recent frames that are kept in addition to the references. 0 keeps only the references."""
    padding: Padding = "none"
    """What replaces frames before the first. `none`: nothing, and references do not count as recent frames (DINO).
    `counted`: nothing, and a reference is a candidate twice while it is also one of the recent frames (VFS).
    `first_frame`: copies of the first frame, each a separate candidate, so that the top-k of an early frame can be k
    copies of one match; references also count as recent frames (CRW)."""
    window: Window
    """Which tokens are candidates, by distance on the token grid: `square` takes max(|dy|, |dx|) <= radius, `disc`
    takes sqrt(dy² + dx²) < radius (CRW), `disc_inclusive` takes sqrt(dy² + dx²) <= radius (DINOv3)."""
    radius: float | int
    """In tokens, above 0. A radius of at least the grid's size means no window."""
    window_covers_first: bool
    """Whether the window also limits the references; otherwise all of their tokens are candidates."""
    top_k: int
    """Number of candidates kept for each token: the most similar ones of the whole context."""
    temperature: float | int
    """Above 0. The weights of the kept candidates are the softmax of similarity / temperature."""
    normalization: Normalization = "softmax"
    """Which candidates are kept if several equal the k-th, as happens in still video: `softmax` keeps the first `top_k`
    (CRW); `exp_divide` keeps all that equal it, because the code thresholds at the k-th value (DINO, DINOv3, INO)."""
    similarity: Similarity = "cosine"
    """`cosine` of features and keys, or their plain `dot` product, for the scaled queries and keys of an attention."""
    late_objects: LateObjects = "reference"
    """What a label on a later frame does. `reference`: the frame joins the only context for good. `own_context`:
    objects that appear there open their own context, which holds that frame and the recent ones after it and votes
    only for these objects; the votes of all contexts are summed, and the first context votes for the background (DUL,
    INO)."""
    precision: Precision = "auto"
    """Arithmetic of the similarities; all but `half` give the same labels. `bf16` selects candidates in bf16 and scores
    them again in fp32 if a bound on the rounding error allows it; it takes 1.5 times the memory. `auto` is bf16
    on a processor that has matrix instructions for it (AMX) and fp32 elsewhere. `half` keeps keys and similarities in
    fp16: it takes half the memory, is fast only on a GPU, and changes labels in the third decimal."""
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
                raise _make_error(self, name, f"choose one of {', '.join(get_args(choices))}")
        for name, minimum in (("context", 0), ("top_k", 1), ("tile", 1)):
            if getattr(self, name) < minimum:
                raise _make_error(self, name, f"use {minimum} or more")
        for name in ("radius", "temperature"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise _make_error(self, name, "use a finite number above 0")

    @property
    def reach(self) -> int:
        """Largest difference in rows or columns inside the window."""
        return math.ceil(self.radius) - 1 if self.window == "disc" else math.floor(self.radius)


def _make_error(config: PropagationConfig, name: str, fix: str) -> ConfigError:
    return ConfigError(f"{name} cannot be {getattr(config, name)!r}", where=f"propagation.{name}", fix=fix)
