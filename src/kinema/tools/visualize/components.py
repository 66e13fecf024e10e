"""Features as colors: the three principal components of a whole clip as red, green and blue."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.errors import DatasetError

_DARKEST, _BRIGHTEST = 0.01, 0.99
"""Shares of the patches that reach the ends of a color."""
PATCHES_OF_A_FRAME = 2048
"""That the basis is made of, at most: 32 frames of 1024 channels then take 0.3 GB."""


@dataclass(frozen=True, kw_only=True)
class ColorBasis:
    """Three directions in feature space and the range of each, the same for every frame: colors keep their meaning."""

    mean: Float[Tensor, " D"]
    directions: Float[Tensor, "D 3"]
    low: Float[Tensor, " 3"]
    high: Float[Tensor, " 3"]
    explained: tuple[float, ...]
    """Share of the variance along each direction, in [0, 1]."""

    def colors(self, features: Float[Tensor, "h w D"]) -> UInt8[np.ndarray, "h w 3"]:
        """A color for every patch: alike features, alike colors."""
        along = (features.float() - self.mean) @ self.directions
        span = (self.high - self.low).clamp(min=1e-12)
        return (255 * ((along - self.low) / span).clamp(0, 1)).round().byte().cpu().numpy()


def color_basis(features: Iterable[Float[Tensor, "h w D"]]) -> ColorBasis:
    """The basis of all patches of some frames. DatasetError where there are fewer than two patches.

    A direction's sign is the one in which its few extreme patches, which are most often things and not ground, lie on
    the bright side (positive third moment): the same clip gives the same colors, whatever order or machine.
    """
    patches = torch.cat([_some(frame.float().flatten(0, 1)) for frame in features])  # (N, D)
    if len(patches) < 2:
        raise DatasetError(f"{len(patches)} patches", where="principal components", fix="give larger frames")
    mean = patches.mean(dim=0)
    centered = patches - mean
    variances, directions = torch.linalg.eigh((centered.T @ centered).double() / len(patches))
    directions = _three(directions.flip(1)).float()
    along = centered @ directions
    signs = torch.where((along.double() ** 3).mean(dim=0) < 0, -1.0, 1.0).float()
    along, directions = along * signs, directions * signs
    ends = along.quantile(torch.tensor([_DARKEST, _BRIGHTEST], device=along.device), dim=0)
    strongest = variances.flip(0)[:3].clamp(min=0) / variances.clamp(min=0).sum().clamp(min=1e-30)
    return ColorBasis(mean=mean, directions=directions, low=ends[0], high=ends[1], explained=tuple(strongest.tolist()))


def _some(patches: Float[Tensor, "N D"]) -> Float[Tensor, "M D"]:
    return patches[:: -(-len(patches) // PATCHES_OF_A_FRAME)]


def _three(directions: Float[Tensor, "D K"]) -> Float[Tensor, "D 3"]:
    """The first three; zeros where the features are narrower than that."""
    kept = directions[:, :3]
    return torch.nn.functional.pad(kept, (0, 3 - kept.shape[1]))
