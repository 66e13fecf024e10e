"""What attention is told of where its tokens are, for encoders whose positions act inside attention."""

from dataclasses import dataclass, replace

from jaxtyping import Float, Int64
from torch import Tensor

from kinema.models.relative import RelativePositions
from kinema.models.rotary import Grid, Rotation


@dataclass(frozen=True)
class Relation:
    """The places of a batch's patch tokens, and what they do to attention."""

    grid: Grid
    """Of the whole clip, in tokens."""
    ids: Int64[Tensor, "B V"] | None
    """Which of its tokens there are; None where they are all, in raster order."""
    rotation: Rotation | None = None
    bias: Float[Tensor, "B K N N"] | None = None
    """Added to the logits of K heads."""

    def inside(self, relative: RelativePositions | None) -> "Relation":
        """The relation within a block that has relative positions of its own, if it has."""
        return self if relative is None else replace(self, bias=relative(self.grid[1:], self.ids))
