"""What features alone show of a frame: principal components as colors, and the best matches of points."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from kinema.errors import DatasetError
from kinema.tools.visualize.attention import find_patch

_DARKEST, _BRIGHTEST = 0.01, 0.99
"""Quantiles of the patches that are drawn at the two ends of a color channel."""
MAX_PATCHES_PER_FRAME = 2048
"""Patches of a frame that enter the basis, at most. 32 frames with 1024 channels then take 0.3 GB."""


@dataclass(frozen=True, kw_only=True)
class ColorBasis:
    """Three directions in feature space and the range of each. All frames of a clip share one, so colors compare."""

    mean: Float[Tensor, " D"]
    directions: Float[Tensor, "D 3"]
    low: Float[Tensor, " 3"]
    high: Float[Tensor, " 3"]
    explained: tuple[float, ...]
    """Share of the variance along each direction, in [0, 1]."""

    def color(self, features: Float[Tensor, "h w D"]) -> UInt8[np.ndarray, "h w 3"]:
        """Returns one color per patch; patches with similar features have similar colors."""
        along = (features.float() - self.mean) @ self.directions
        span = (self.high - self.low).clamp(min=1e-12)
        return (255 * ((along - self.low) / span).clamp(0, 1)).round().byte().cpu().numpy()


def fit_color_basis(features: Iterable[Float[Tensor, "h w D"]]) -> ColorBasis:
    """Fits the basis to the patches of some frames. Raises DatasetError if there are fewer than two patches."""
    patches = torch.cat([_subsample(frame.float().flatten(0, 1)) for frame in features])  # (N, D)
    if len(patches) < 2:
        raise DatasetError(f"{len(patches)} patches", where="principal components", fix="give larger frames")
    mean = patches.mean(dim=0)
    centered = patches - mean
    variances, directions = torch.linalg.eigh((centered.T @ centered).double() / len(patches))
    directions = _keep_three(directions.flip(1)).float()
    along = centered @ directions
    # Eigenvectors have no sign. A positive third moment puts the few extreme patches, usually objects and not the
    # background, on the bright side, so the same clip has the same colors on every machine and in any frame order.
    signs = torch.where((along.double() ** 3).mean(dim=0) < 0, -1.0, 1.0).float()
    along, directions = along * signs, directions * signs
    ends = along.quantile(torch.tensor([_DARKEST, _BRIGHTEST], device=along.device), dim=0)
    strongest = variances.flip(0)[:3].clamp(min=0) / variances.clamp(min=0).sum().clamp(min=1e-30)
    return ColorBasis(mean=mean, directions=directions, low=ends[0], high=ends[1], explained=tuple(strongest.tolist()))


def _subsample(patches: Float[Tensor, "N D"]) -> Float[Tensor, "M D"]:
    return patches[:: -(-len(patches) // MAX_PATCHES_PER_FRAME)]


def _keep_three(directions: Float[Tensor, "D K"]) -> Float[Tensor, "D 3"]:
    """Returns the first three directions, with columns of zeros if the features have fewer channels."""
    kept = directions[:, :3]
    return F.pad(kept, (0, 3 - kept.shape[1]))


@dataclass(frozen=True, kw_only=True)
class Matches:
    """The best match in a frame of each of K points."""

    points: Float32[np.ndarray, "K 2"]
    """x and y in pixels of the frame, at the center of the matched patch."""
    likeness: Float32[np.ndarray, " K"]
    """Cosine similarity of the features there, in [-1, 1]."""
    maps: Float32[np.ndarray, "h w K"]
    """Cosine similarity with every patch."""


def pick_features(
    features: Float[Tensor, "h w D"], points: list[tuple[float, float]], size: tuple[int, int]
) -> Float[Tensor, "K D"]:
    """Returns the normalized feature of the patch under each point.

    size: (height, width) of the frame that the points are pixels of. Raises ConfigError if a point lies outside it.
    """
    grid = (features.shape[0], features.shape[1])
    places = [find_patch(point, size, grid, where="points") for point in points]
    rows, columns = ([place[axis] for place in places] for axis in (0, 1))
    return F.normalize(features[rows, columns].float(), dim=-1)


def find_best_matches(wanted: Float[Tensor, "K D"], features: Float[Tensor, "h w D"], size: tuple[int, int]) -> Matches:
    """Finds the patch with the highest cosine similarity to each wanted feature. size: (height, width) of the frame."""
    cosine = F.normalize(features.float(), dim=-1) @ wanted.T  # (h, w, K)
    rows, columns = features.shape[:2]
    likeness, best = cosine.flatten(0, 1).max(dim=0)
    centers = [(best % columns + 0.5) * size[1] / columns, (best // columns + 0.5) * size[0] / rows]
    points = np.stack([axis.cpu().numpy() for axis in centers], axis=1).astype(np.float32)
    return Matches(points=points, likeness=likeness.cpu().numpy(), maps=cosine.cpu().numpy())
